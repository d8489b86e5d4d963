/** Lexical scopes for names.ts: what a function, block or pattern declares. */
import type { Any } from './names.ts';

/** The names declared in one place, inside the places around it. */
export class Scope {
  readonly names = new Set<string>();
  readonly parent: Scope | undefined;
  constructor(parent: Scope | undefined) {
    this.parent = parent;
  }

  has(name: string): boolean {
    return this.names.has(name) || (this.parent?.has(name) ?? false);
  }
}

/** Adds the names that a binding pattern binds. */
export function declarePattern(node: Any | null, scope: Scope): void {
  if (node === null) return;
  switch (node.type) {
    case 'Identifier':
      scope.names.add(node.name as string);
      return;
    case 'AssignmentPattern':
      return declarePattern(node['left'] as Any, scope);
    case 'RestElement':
      return declarePattern(node['argument'] as Any, scope);
    case 'ArrayPattern':
      for (const item of node['elements'] as (Any | null)[]) declarePattern(item, scope);
      return;
    case 'ObjectPattern':
      for (const item of node['properties'] as Any[]) {
        declarePattern((item['value'] ?? item['argument']) as Any, scope);
      }
      return;
    default:
  }
}

/** Adds what the statements of one block declare for that block. */
export function declareLexical(statements: readonly Any[], scope: Scope): void {
  for (const statement of statements) {
    if (statement.type === 'VariableDeclaration') {
      if (statement['kind'] !== 'var') declareVariables(statement, scope);
    } else if (statement.type === 'FunctionDeclaration' || statement.type === 'ClassDeclaration') {
      scope.names.add((statement['id'] as Any).name as string);
    } else if (statement.type === 'LabeledStatement') {
      declareLexical([statement['body'] as Any], scope);
    }
  }
}

function declareVariables(declaration: Any, scope: Scope): void {
  for (const declarator of declaration['declarations'] as Any[]) {
    declarePattern(declarator['id'] as Any, scope);
  }
}

/** Adds what a function's body declares for all of the body: `var` at any depth, and its own block. */
export function hoist(statements: readonly Any[], scope: Scope): void {
  declareLexical(statements, scope);
  for (const statement of statements) hoistVar(statement, scope);
}

function hoistVar(node: Any, scope: Scope): void {
  if (/Function|Class|StaticBlock/.test(node.type)) return;
  if (node.type === 'VariableDeclaration') {
    if (node['kind'] === 'var') declareVariables(node, scope);
    return;
  }
  if (node.type.endsWith('Expression')) return;
  for (const key of Object.keys(node)) {
    const child = node[key];
    for (const item of Array.isArray(child) ? (child as unknown[]) : [child]) {
      const inner = item as Any | null | undefined;
      if (typeof inner?.type === 'string') hoistVar(inner, scope);
    }
  }
}
