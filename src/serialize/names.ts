/**
 * The walk behind analyze.ts: every identifier of a function's tree, with the scope it is in.
 *
 * Code is taken as strict (modules, TypeScript, classes and notebook cells all are), so a function
 * declared in a block belongs to that block.
 */
import type { AnyNode } from 'acorn';
import { IMPORT_NAME, META_NAME } from './analyze.ts';
import type { Analysis, Edit } from './analyze.ts';
import { Scope, declareLexical, declarePattern, hoist } from './scope.ts';

/** A node whose fields are read by name. */
export type Any = AnyNode & Record<string, unknown>;
interface Use {
  guarded: boolean;
  assigned: boolean;
  early: boolean;
  members: Set<string> | undefined;
}

/** What surrounds a node: which `this` it sees, and whether a class evaluates it when defined. */
interface Context {
  /** `this`, `arguments`, `new.target` belong to a function inside the source. */
  ownThis: boolean;
  ownArguments: boolean;
  ownSuper: boolean;
  early: boolean;
}

/** One walk over one function. */
export class Walker {
  readonly text: string;
  readonly prefix: number;
  readonly uses = new Map<string, Use>();
  readonly edits: Edit[] = [];
  selfName: string | undefined;
  selfUsed = false;
  obstacle: string | undefined;
  usesImport = false;
  usesMeta = false;
  privateMembers = false;
  selfScope: Scope | undefined;

  constructor(text: string, prefix: number) {
    this.text = text;
    this.prefix = prefix;
  }

  run(node: Any): Analysis {
    const outer = new Scope(undefined);
    const context: Context = {
      ownThis: false,
      ownArguments: false,
      ownSuper: false,
      early: false
    };
    const isClass = node.type === 'ClassExpression' || node.type === 'ClassDeclaration';
    const id = node['id'] as Any | null | undefined;
    if (isClass) {
      this.stripStatics(node);
      this.classNode(node, outer, context);
    } else {
      if (id?.type === 'Identifier') {
        this.selfName = id.name as string;
        this.selfScope = new Scope(outer);
        this.selfScope.names.add(this.selfName);
      }
      this.functionNode(node, this.selfScope ?? outer, context);
    }
    const free = [...this.uses].map(([name, use]) => ({ name, ...use }));
    free.sort((a, b) => (a.name < b.name ? -1 : 1));
    return {
      kind: isClass ? 'class' : 'function',
      arrow: node.type === 'ArrowFunctionExpression',
      expression: applyEdits(this.text, this.edits),
      prefix: this.prefix,
      free,
      selfName: this.selfUsed ? this.selfName : undefined,
      obstacle: this.obstacle,
      usesImport: this.usesImport,
      usesMeta: this.usesMeta,
      privateMembers: this.privateMembers
    };
  }

  /**
   * Public static fields and static blocks are blanked: their values at the moment of the call are
   * shipped instead, so nothing runs twice. What touches private members has to run again.
   */
  stripStatics(node: Any): void {
    for (const member of (node['body'] as Any)['body'] as Any[]) {
      const block = member.type === 'StaticBlock';
      const field = member.type === 'PropertyDefinition' && member['static'] === true;
      if (!block && !field) continue;
      const isPrivate = field && (member['key'] as Any).type === 'PrivateIdentifier';
      const source = this.text.slice(member.start, member.end);
      if (isPrivate || (block && source.includes('#'))) continue;
      this.edits.push([member.start, member.end, blank(source)]);
      member['stripped'] = true;
    }
  }

  refuse(why: string): void {
    this.obstacle ??= why;
  }

  use(name: string, scope: Scope, early: boolean, change: Partial<Use>): void {
    if (scope.has(name)) {
      if (name === this.selfName && this.isSelf(scope, name)) this.selfUsed = true;
      return;
    }
    if (name === 'undefined') return;
    const known = this.uses.get(name);
    const members = change.members;
    if (known === undefined) {
      this.uses.set(name, {
        guarded: change.guarded === true,
        assigned: change.assigned === true,
        early,
        members: members === undefined ? undefined : new Set(members)
      });
      return;
    }
    known.guarded ||= change.guarded === true;
    known.assigned ||= change.assigned === true;
    known.early ||= early;
    if (change.guarded === true) return;
    if (members === undefined) known.members = undefined;
    else if (known.members !== undefined) for (const member of members) known.members.add(member);
  }

  isSelf(from: Scope, name: string): boolean {
    let scope: Scope | undefined = from;
    while (scope !== undefined && !scope.names.has(name)) scope = scope.parent;
    return scope !== undefined && scope === this.selfScope;
  }

  functionNode(node: Any, outer: Scope, context: Context): void {
    const arrow = node.type === 'ArrowFunctionExpression';
    const inner: Context = {
      ownThis: context.ownThis || !arrow,
      ownArguments: context.ownArguments || !arrow,
      ownSuper: context.ownSuper,
      early: context.early
    };
    const scope = new Scope(outer);
    for (const param of node['params'] as Any[]) declarePattern(param, scope);
    if (!arrow) scope.names.add('arguments');
    for (const param of node['params'] as Any[]) this.pattern(param, scope, inner);
    const body = node['body'] as Any;
    if (body.type !== 'BlockStatement') return this.visit(body, scope, inner);
    const block = new Scope(scope);
    hoist(body['body'] as Any[], block);
    for (const statement of body['body'] as Any[]) this.visit(statement, block, inner);
  }

  classNode(node: Any, outer: Scope, context: Context): void {
    const scope = new Scope(outer);
    const id = node['id'] as Any | null;
    if (id !== null && id !== undefined) scope.names.add(id.name as string);
    const heritage = node['superClass'] as Any | null;
    const top = outer.parent === undefined;
    const atDefinition = { ...context, early: context.early || top };
    if (heritage !== null) this.visit(heritage, scope, atDefinition);
    for (const member of (node['body'] as Any)['body'] as Any[]) {
      if (member['stripped'] === true) continue;
      this.classMember(member, scope, context, atDefinition);
    }
  }

  classMember(member: Any, scope: Scope, context: Context, early: Context): void {
    const own = { ownThis: true, ownArguments: context.ownArguments, ownSuper: true };
    if (member.type === 'StaticBlock') {
      const block = new Scope(scope);
      hoist(member['body'] as Any[], block);
      for (const statement of member['body'] as Any[]) {
        this.visit(statement, block, { ...own, early: early.early });
      }
      return;
    }
    const key = member['key'] as Any;
    if (key.type === 'PrivateIdentifier' && member['static'] !== true) this.privateMembers = true;
    if (member['computed'] === true) this.visit(key, scope, early);
    const value = member['value'] as Any | null;
    if (value === null) return;
    const isStatic = member['static'] === true && member.type === 'PropertyDefinition';
    this.visit(value, scope, { ...own, early: isStatic ? early.early : context.early });
  }

  /** Parameters and other binding patterns: only their defaults and computed keys use names. */
  pattern(node: Any | null, scope: Scope, context: Context): void {
    if (node === null) return;
    switch (node.type) {
      case 'Identifier':
        return;
      case 'AssignmentPattern':
        this.pattern(node['left'] as Any, scope, context);
        return this.visit(node['right'] as Any, scope, context);
      case 'ArrayPattern':
        for (const item of node['elements'] as (Any | null)[]) this.pattern(item, scope, context);
        return;
      case 'RestElement':
        return this.pattern(node['argument'] as Any, scope, context);
      case 'ObjectPattern':
        for (const item of node['properties'] as Any[]) {
          if (item['computed'] === true) this.visit(item['key'] as Any, scope, context);
          this.pattern((item['value'] ?? item['argument']) as Any, scope, context);
        }
        return;
      default:
        return this.visit(node, scope, context);
    }
  }

  /** The target of an assignment: names in it are written. */
  target(node: Any | null, scope: Scope, context: Context): void {
    if (node === null) return;
    switch (node.type) {
      case 'Identifier':
        return this.use(node.name as string, scope, context.early, { assigned: true });
      case 'AssignmentPattern':
        this.target(node['left'] as Any, scope, context);
        return this.visit(node['right'] as Any, scope, context);
      case 'ArrayPattern':
        for (const item of node['elements'] as (Any | null)[]) {
          this.target(item, scope, context);
        }
        return;
      case 'RestElement':
        return this.target(node['argument'] as Any, scope, context);
      case 'ObjectPattern':
        for (const item of node['properties'] as Any[]) {
          if (item['computed'] === true) this.visit(item['key'] as Any, scope, context);
          this.target((item['value'] ?? item['argument']) as Any, scope, context);
        }
        return;
      default:
        return this.visit(node, scope, context);
    }
  }

  visit(node: Any | null | undefined, scope: Scope, context: Context): void {
    if (node === null || node === undefined) return;
    const handler = HANDLERS[node.type];
    if (handler !== undefined) handler(this, node, scope, context);
    else this.children(node, scope, context);
  }

  children(node: Any, scope: Scope, context: Context): void {
    for (const key of Object.keys(node)) {
      const child = node[key];
      if (Array.isArray(child)) {
        for (const item of child as (Any | null)[]) {
          if (typeof item?.type === 'string') this.visit(item, scope, context);
        }
      } else if (typeof (child as Any | null)?.type === 'string') {
        this.visit(child as Any, scope, context);
      }
    }
  }

  block(statements: Any[], scope: Scope, context: Context): void {
    const inner = new Scope(scope);
    declareLexical(statements, inner);
    for (const statement of statements) this.visit(statement, inner, context);
  }
}

type Handler = (walker: Walker, node: Any, scope: Scope, context: Context) => void;

const forLoop: Handler = (walker, node, scope, context) => {
  const inner = new Scope(scope);
  const init = (node['init'] ?? node['left']) as Any | null | undefined;
  if (init?.type === 'VariableDeclaration') declareLexical([init], inner);
  if (node.type !== 'ForStatement' && init?.type !== 'VariableDeclaration') {
    walker.target(init ?? null, inner, context);
  } else walker.visit(init, inner, context);
  for (const part of ['right', 'test', 'update', 'body']) {
    walker.visit(node[part] as Any | null | undefined, inner, context);
  }
};

const HANDLERS: Record<string, Handler | undefined> = {
  Identifier(walker, node, scope, context) {
    const name = node.name as string;
    if (name === 'arguments' && !context.ownArguments) {
      walker.refuse(
        'it uses `arguments` of the function around it; give it a rest parameter (...args) of its own'
      );
    }
    walker.use(name, scope, context.early, {});
  },
  FunctionExpression(walker, node, scope, context) {
    const id = node['id'] as Any | null;
    if (id === null) return walker.functionNode(node, scope, context);
    const named = new Scope(scope);
    named.names.add(id.name as string);
    walker.functionNode(node, named, context);
  },
  FunctionDeclaration(walker, node, scope, context) {
    walker.functionNode(node, scope, context);
  },
  ArrowFunctionExpression(walker, node, scope, context) {
    walker.functionNode(node, scope, context);
  },
  ClassDeclaration(walker, node, scope, context) {
    walker.classNode(node, scope, context);
  },
  ClassExpression(walker, node, scope, context) {
    walker.classNode(node, scope, context);
  },
  BlockStatement(walker, node, scope, context) {
    walker.block(node['body'] as Any[], scope, context);
  },
  SwitchStatement(walker, node, scope, context) {
    walker.visit(node['discriminant'] as Any, scope, context);
    const inner = new Scope(scope);
    const cases = node['cases'] as Any[];
    declareLexical(
      cases.flatMap(item => item['consequent'] as Any[]),
      inner
    );
    for (const item of cases) {
      walker.visit(item['test'] as Any, inner, context);
      for (const statement of item['consequent'] as Any[]) walker.visit(statement, inner, context);
    }
  },
  CatchClause(walker, node, scope, context) {
    const inner = new Scope(scope);
    const param = node['param'] as Any | null;
    if (param !== null) {
      declarePattern(param, inner);
      walker.pattern(param, inner, context);
    }
    walker.visit(node['body'] as Any, inner, context);
  },
  ForStatement: forLoop,
  ForInStatement: forLoop,
  ForOfStatement: forLoop,
  VariableDeclaration(walker, node, scope, context) {
    for (const declarator of node['declarations'] as Any[]) {
      walker.pattern(declarator['id'] as Any, scope, context);
      walker.visit(declarator['init'] as Any, scope, context);
    }
  },
  AssignmentExpression(walker, node, scope, context) {
    walker.target(node['left'] as Any, scope, context);
    walker.visit(node['right'] as Any, scope, context);
  },
  UpdateExpression(walker, node, scope, context) {
    walker.target(node['argument'] as Any, scope, context);
  },
  UnaryExpression(walker, node, scope, context) {
    const argument = node['argument'] as Any;
    if (node['operator'] === 'typeof' && argument.type === 'Identifier') {
      walker.use(argument.name as string, scope, context.early, { guarded: true });
    } else walker.visit(argument, scope, context);
  },
  MemberExpression(walker, node, scope, context) {
    const object = node['object'] as Any;
    const property = node['property'] as Any;
    const computed = node['computed'] === true;
    if (object.type === 'Identifier' && !computed && object.name !== 'arguments') {
      const members = new Set([property.name as string]);
      walker.use(object.name as string, scope, context.early, { members });
    } else walker.visit(object, scope, context);
    if (computed) walker.visit(property, scope, context);
  },
  Property(walker, node, scope, context) {
    if (node['computed'] === true) walker.visit(node['key'] as Any, scope, context);
    const value = node['value'] as Any;
    const method = node['method'] === true || node['kind'] !== 'init';
    walker.visit(value, scope, method ? { ...context, ownSuper: true } : context);
  },
  LabeledStatement(walker, node, scope, context) {
    walker.visit(node['body'] as Any, scope, context);
  },
  BreakStatement() {},
  ContinueStatement() {},
  ThisExpression(walker, _node, _scope, context) {
    if (context.ownThis) return;
    walker.refuse(
      'it is an arrow function that uses `this` of what is around it; copy what it needs into a const first, or make it a function that gets the object as a parameter'
    );
  },
  Super(walker, _node, _scope, context) {
    if (context.ownSuper) return;
    walker.refuse(
      'it is a method that uses `super`, which has no meaning outside its class; submit a function that makes the object and calls the method'
    );
  },
  WithStatement(walker) {
    walker.refuse('it uses `with`, so that its names cannot be told; write the object out');
  },
  MetaProperty(walker, node, _scope, context) {
    if ((node['meta'] as Any).name === 'import') {
      walker.usesMeta = true;
      walker.edits.push([node.start, node.end, META_NAME]);
    } else if (!context.ownThis) {
      walker.refuse('it uses `new.target` of the function around it; pass it as a parameter');
    }
  },
  ImportExpression(walker, node, scope, context) {
    walker.usesImport = true;
    walker.edits.push([node.start, node.start + 'import'.length, IMPORT_NAME]);
    walker.visit(node['source'] as Any, scope, context);
    walker.visit(node['options'] as Any, scope, context);
  },
  CallExpression(walker, node, scope, context) {
    const callee = node['callee'] as Any;
    if (callee.type === 'Identifier' && callee.name === 'eval' && !scope.has('eval')) {
      walker.refuse(
        'it calls eval() directly, so that its names cannot be told; use (0, eval)(text), which sees global names only, or parse the text'
      );
    }
    walker.visit(callee, scope, context);
    for (const argument of node['arguments'] as Any[]) walker.visit(argument, scope, context);
  }
};

/** The text with its pieces replaced. */
function applyEdits(text: string, edits: readonly Edit[]): string {
  let result = text;
  for (const [start, end, replacement] of [...edits].sort((a, b) => b[0] - a[0])) {
    result = result.slice(0, start) + replacement + result.slice(end);
  }
  return result;
}

/** Spaces in place of a text, its lines kept. */
function blank(text: string): string {
  return text.replace(/[^\n\r\u2028\u2029]/g, ' ');
}
