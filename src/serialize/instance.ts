/**
 * Instances of users' classes: the class, and the instance's own enumerable fields. What cannot be
 * copied that way (private members, the runtime's own classes) is refused.
 */
import { types } from 'node:util';
import { analysisOf, stateOf } from './capture-state.ts';
import type { CaptureState } from './capture-state.ts';
import type { Encoder } from './encode.ts';
import { globalPathOf } from './globals.ts';
import { namespaceValue } from './lookup.ts';
import { builtinExport, importedHere, importsOf, recordedExport } from './modules.ts';
import { classNameOf, isNativeFunction, ownConstructor } from './natives.ts';
import { origins } from './provenance.ts';
import { Refusal, refuseHost } from './refusal.ts';
import { inDeno, surroundings } from './scopes.ts';
import { writeShared } from './shared.ts';
import { Tag } from './tags.ts';

/** An instance of a user's class: the class, and the instance's own enumerable fields. */
export function writeInstance(encoder: Encoder, value: object): void {
  if (types.isModuleNamespaceObject(value)) {
    if (!writeShared(encoder, value)) encoder.encode(namespaceValue(value, undefined));
    return;
  }
  const { type, base } = classOfInstance(encoder, value);
  if (encoder.again(value)) return;
  encoder.enter(value);
  const start = encoder.open(Tag.instance);
  encoder.encode(type);
  encoder.string(base);
  if (base === 'Map') encoder.mapEntries(value as Map<unknown, unknown>);
  else if (base === 'Set') encoder.setMembers(value as Set<unknown>);
  else if (base === 'Array') encoder.out.number((value as unknown[]).length);
  if (base === 'Error') encoder.errorEntries(value);
  else encoder.entries(value, Object.keys(value));
  encoder.close(start);
  encoder.leave();
}

function classOfInstance(encoder: Encoder, value: object): { type: Function; base: string } {
  const prototype = Object.getPrototypeOf(value) as object;
  const type = ownConstructor(prototype);
  if (type === undefined) {
    throw new Refusal(
      value,
      'an object whose prototype belongs to no class',
      'Send a plain object with the fields it needs: { ...object }.'
    );
  }
  const base = baseOf(value);
  for (let at: object | null = prototype; at !== null; at = Object.getPrototypeOf(at) as object) {
    const constructor = ownConstructor(at);
    if (constructor === undefined || globalPathOf(constructor) !== undefined) continue;
    if (isNativeFunction(constructor)) throw refuseHost(value, classNameOf(value));
    checkClass(encoder, value, constructor, at === prototype);
  }
  return { type, base };
}

function baseOf(value: object): string {
  if (Array.isArray(value)) return 'Array';
  if (types.isMap(value)) return 'Map';
  if (types.isSet(value)) return 'Set';
  if (types.isNativeError(value)) return 'Error';
  const builtIn =
    ArrayBuffer.isView(value) ||
    types.isAnyArrayBuffer(value) ||
    types.isDate(value) ||
    types.isRegExp(value) ||
    types.isPromise(value) ||
    types.isBoxedPrimitive(value);
  if (!builtIn) return 'Object';
  throw new Refusal(
    value,
    `an instance of ${classNameOf(value)}, a subclass of a built-in class`,
    'Send the built-in object it extends, and wrap it again inside the task.'
  );
}

function checkClass(encoder: Encoder, value: object, type: Function, direct: boolean): void {
  const imported = builtinExport(type);
  if (imported !== undefined) {
    if (type.name === 'EventEmitter' && !direct) return;
    throw refuseHost(value, classNameOf(value));
  }
  if (recordedExport(type) !== undefined || importedHere.has(type) || origins.has(type)) return;
  if (!inDeno && isHostClass(stateOf(encoder), type)) throw refuseHost(value, classNameOf(value));
  const { privateMembers } = analysisOf(type);
  if (!privateMembers) return;
  throw new Refusal(
    value,
    `an instance of ${type.name}, whose private members (#…) nobody outside the class can read,`,
    'Send the data it is made from and make the instance inside the task, or use ordinary fields.'
  );
}

const hostClasses = new WeakMap<Function, boolean>();

/** Whether a class is the runtime's own: written in a script of Node's. */
function isHostClass(state: CaptureState, type: Function): boolean {
  let host = hostClasses.get(type);
  if (host === undefined) {
    const look = state.found.get(type) ?? surroundings(type);
    host = /^(node|ext):/.test(importsOf(look.scriptId).url);
    hostClasses.set(type, host);
  }
  return host;
}
