// Flat ESLint configuration: the recommended rules everywhere, typed rules on TypeScript.
// Formatting is Prettier's business; import directions are held by the tsconfig projects.
import js from '@eslint/js';
import globals from 'globals';
import tseslint from 'typescript-eslint';

export default tseslint.config(
  {
    ignores: [
      '**/node_modules/**',
      '**/.ipynb_checkpoints/**',
      '.venv/**',
      '.cache/**',
      'build/**',
      'dist/**',
      'lib/**',
      'python/**',
      'test-results/**'
    ]
  },
  js.configs.recommended,
  {
    files: ['**/*.mjs', '**/*.js'],
    languageOptions: { globals: globals.node }
  },
  {
    files: ['src/**/*.{ts,tsx}', 'test/**/*.{ts,tsx}', 'bench/**/*.ts', 'vitest.config.ts'],
    extends: [tseslint.configs.recommended],
    languageOptions: {
      parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname }
    },
    rules: {
      '@typescript-eslint/no-floating-promises': 'error',
      '@typescript-eslint/no-misused-promises': ['error', { checksVoidReturn: false }],
      '@typescript-eslint/switch-exhaustiveness-check': [
        'error',
        { considerDefaultExhaustiveForUnions: true }
      ],
      '@typescript-eslint/consistent-type-imports': [
        'error',
        { fixStyle: 'separate-type-imports' }
      ],
      '@typescript-eslint/no-explicit-any': 'error',
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_' }],
      eqeqeq: 'error'
    }
  },
  {
    // These rooms take, send and make functions of any kind, classes included.
    files: ['src/serialize/**', 'test/serialize/**', 'bench/serialize.ts'],
    rules: { '@typescript-eslint/no-unsafe-function-type': 'off' }
  }
);
