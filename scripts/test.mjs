/**
 * `npm test`: sets everything up, then runs every check one after another and ends with one line,
 * `N passed, N failed`, summed from the reports of the test tools. A check that is not made of
 * tests (types, lint) counts as one. The exit code is not 0 when anything failed.
 *
 * `npm test -- types lint` runs only the named checks.
 */
import { mkdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';

import { chromium, oldest, python, setup } from './setup.mjs';
import { SetupError, main, root, run, say, tail } from './steps.mjs';

const reports = join(root, 'test-results');
const bin = name => `node_modules/${name}`;

/**
 * Every check: a name, a command, and how its outcome is counted (default: as one). A count may
 * have a `summary`, lines that are shown in any case.
 */
function checks(node, browser, oldestPython) {
  const vitest = (project, env = {}) => ({
    name: project,
    command: [
      node,
      bin('vitest/vitest.mjs'),
      'run',
      '--project',
      project,
      '--reporter=default',
      '--reporter=json',
      `--outputFile.json=${join(reports, `${project}.json`)}`
    ],
    env: { CHROMIUM: browser, ...env },
    count: () => countVitest(join(reports, `${project}.json`))
  });
  return [
    { name: 'types', command: [node, bin('typescript/bin/tsc'), '-b'] },
    { name: 'lint', command: [node, bin('eslint/bin/eslint.js'), '.', '--max-warnings=0'] },
    { name: 'format', command: [node, bin('prettier/bin/prettier.cjs'), '--check', '.'] },
    { name: 'ruff', command: [python, '-m', 'ruff', 'check', '--no-cache', '.'] },
    { name: 'mypy', command: [python, '-m', 'mypy'] },
    {
      name: 'ruff-format',
      command: [python, '-m', 'ruff', 'format', '--no-cache', '--check', '.']
    },
    { name: 'knip', command: [node, bin('knip/bin/knip.js'), '--no-progress'] },
    vitest('node'),
    vitest('browser'),
    {
      name: 'chaos',
      command: [
        node,
        'test/chaos/main.ts',
        '--minutes',
        '2',
        '--report',
        join(reports, 'chaos.json')
      ],
      count: () => JSON.parse(readFileSync(join(reports, 'chaos.json'), 'utf8'))
    },
    { name: 'simulation', command: [node, 'test/sim/main.ts', '--seeds', '20000'] },
    { name: 'mutants', command: [node, 'test/sim/mutants.ts', '--quick'] },
    {
      name: 'python',
      command: [python, '-m', 'pytest', `--junit-xml=${join(reports, 'python.xml')}`],
      count: () => countJunit(join(reports, 'python.xml'))
    },
    {
      // What meets Dask and pickled values, with the oldest versions of what is needed.
      name: 'oldest',
      command: [
        oldestPython,
        '-m',
        'pytest',
        ...['dask', 'client', 'pack', 'serialize'].map(name => `test/python/test_${name}.py`),
        `--junit-xml=${join(reports, 'oldest.xml')}`
      ],
      env: { PYTHONPATH: 'python' },
      count: () => countJunit(join(reports, 'oldest.xml'))
    },
    {
      // A part of Dask's own tests, from its wheel; needs the workers that the build has made.
      name: 'dask',
      command: [python, 'test/dask/run.py', '--quick'],
      count: () => JSON.parse(readFileSync(join(reports, 'dask/quick.json'), 'utf8'))
    },
    vitest('e2e')
  ];
}

function countVitest(path) {
  const report = JSON.parse(readFileSync(path, 'utf8'));
  // A file that cannot even be loaded holds no test that could fail, so it counts by itself.
  const broken = report.testResults.filter(
    file => file.status === 'failed' && !file.assertionResults.some(one => one.status === 'failed')
  ).length;
  return { passed: report.numPassedTests, failed: report.numFailedTests + broken };
}

function countJunit(path) {
  const suite = /<testsuite [^>]*>/.exec(readFileSync(path, 'utf8'))?.[0] ?? '';
  const number = name => Number(new RegExp(` ${name}="(\\d+)"`).exec(suite)?.[1] ?? 0);
  const failed = number('failures') + number('errors');
  return { passed: number('tests') - failed - number('skipped'), failed };
}

/** Runs one check; its output is shown when it fails, a line with its time in any case. */
async function runCheck(check, env) {
  const [command, ...args] = check.command;
  const result = await run(command, args, { env: { ...env, ...check.env } });
  let counts = { passed: result.code === 0 ? 1 : 0, failed: result.code === 0 ? 0 : 1 };
  if (check.count !== undefined) {
    try {
      counts = check.count();
    } catch {
      // No report: the tool itself broke, which is one failure.
      counts = { passed: 0, failed: 1 };
    }
    // Tools also fail for reasons no test names, such as an unhandled rejection.
    if (result.code !== 0 && counts.failed === 0) counts.failed = 1;
  }
  const verdict = counts.failed === 0 ? 'ok    ' : 'FAILED';
  if (counts.failed > 0) say(`\n${tail(result.output, 200)}\n`);
  const numbers = `${counts.passed} passed, ${counts.failed} failed`;
  say(
    `${verdict} ${check.name.padEnd(12)} ${result.seconds.toFixed(1).padStart(7)} s   ${numbers}`
  );
  for (const line of counts.summary ?? []) say(`         ${line}`);
  return counts;
}

main(async () => {
  const names = process.argv.slice(2);
  rmSync(reports, { recursive: true, force: true });
  mkdirSync(reports, { recursive: true });
  let passed = 0;
  let failed = 0;
  try {
    const { node, env } = await setup();
    const all = checks(node, await chromium(), await oldest());
    const unknown = names.filter(name => !all.some(check => check.name === name));
    if (unknown.length > 0) {
      throw new SetupError(
        `No check is called ${unknown.join(', ')}; there are: ${all.map(check => check.name).join(', ')}`
      );
    }
    for (const check of all) {
      if (names.length > 0 && !names.includes(check.name)) continue;
      const counts = await runCheck(check, { ...env, CI: 'true', NO_COLOR: '1' });
      passed += counts.passed;
      failed += counts.failed;
    }
  } catch (error) {
    failed += 1;
    say(
      `${error.output ? `\n${error.output}\n` : ''}\n${error.stack && !(error instanceof SetupError) ? error.stack : error.message}\n`
    );
  }
  process.exitCode = failed === 0 ? 0 : 1;
  say(`${passed} passed, ${failed} failed`);
});
