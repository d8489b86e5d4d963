/**
 * How functions and classes are written into a value's graph: source, captured names and their
 * values, own properties. What the names stand for is found by lookup.ts.
 */
import { createHash } from 'node:crypto';
import { types } from 'node:util';
import { analysisOf, describe, newState, refuse, stateOf } from './capture-state.ts';
import type { CaptureState } from './capture-state.ts';
import { Encoder } from './encode.ts';
import type { EncodeHooks } from './encode.ts';
import { writeInstance } from './instance.ts';
import { ImportedName, lookAround, needsLook, resolveNames } from './lookup.ts';
import type { Entry } from './lookup.ts';
import { commonExport, importsOf, packageExport } from './modules.ts';
import type { Imported } from './modules.ts';
import { isNativeFunction } from './natives.ts';
import { origins, registerClass } from './provenance.ts';
import type { Blueprint } from './provenance.ts';
import { refuseHost } from './refusal.ts';
import type { Refusal } from './refusal.ts';
import { inDeno } from './scopes.ts';
import { writeImported, writeShared } from './shared.ts';
import { Tag } from './tags.ts';

/** The encoder's hooks for code. */
export const captureHooks: EncodeHooks = { callable: writeCallable, instance: writeInstance };

function writeCallable(encoder: Encoder, fn: Function): void {
  if (types.isProxy(fn)) throw refuseHost(fn, 'Proxy');
  if (writeShared(encoder, fn)) return;
  if (encoder.again(fn)) return;
  const origin = origins.get(fn);
  if (origin !== undefined) {
    const values = origin.values();
    const entries = origin.blueprint.names.map((name, i) => [name, values[i]] as const);
    return writeClosure(encoder, fn, origin.blueprint, entries, origin.digest);
  }
  if (isNativeFunction(fn)) throw refuseNative(fn);
  const analysis = analysisOf(fn);
  const installed = inDeno || !needsLook(analysis) ? undefined : installedExport(encoder, fn);
  if (installed !== undefined) return writeImported(encoder, installed);
  const { blueprint, entries } = resolveNames(encoder, fn, analysis);
  const digest = blueprint.isClass ? digestOf(encoder, fn) : '';
  writeClosure(encoder, fn, blueprint, entries, digest);
}

/** A function of an installed package travels as an import; one of the runtime's own cannot. */
function installedExport(encoder: Encoder, fn: Function): Imported | undefined {
  const look = lookAround(stateOf(encoder), fn);
  const url = look === undefined ? '' : importsOf(look.scriptId).url;
  if (/^(node|ext):/.test(url)) {
    const remedy = 'Send a function of your own that calls it.';
    throw refuse(fn, "part of the runtime's own code that no module exports", remedy);
  }
  return packageExport(fn, url);
}

function refuseNative(fn: Function): Refusal {
  if (fn.name.startsWith('bound ')) {
    const remedy = 'Send a function that makes the call: (...args) => object.method(...args).';
    return refuse(fn, 'made by .bind(), which hides what it is bound to', remedy);
  }
  const remedy = 'Send a function that calls it: (...args) => theNativeFunction(...args).';
  return refuse(fn, 'native code that no module exports', remedy);
}

function writeClosure(
  encoder: Encoder,
  fn: Function,
  blueprint: Blueprint,
  entries: readonly Entry[],
  digest: string
): void {
  const state = stateOf(encoder);
  encoder.enter(fn);
  const start = encoder.open(Tag.closure);
  const { out } = encoder;
  out.number((blueprint.isClass ? 1 : 0) | (blueprint.privateMembers ? 2 : 0));
  encoder.string(blueprint.name);
  writeSource(encoder, state, blueprint);
  encoder.string(blueprint.metaUrl);
  encoder.string(digest);
  out.number(blueprint.early);
  encoder.string(blueprint.assigned.join(' '));
  encoder.string(blueprint.names.join(' '));
  for (const [name, value] of entries) {
    encoder.places.push({ label: name, root: value, note: `captured by ${describe(fn)}` });
    writeCaptured(encoder, value);
    encoder.places.pop();
  }
  writeProperties(encoder, fn);
  encoder.close(start);
  encoder.leave();
}

function writeSource(encoder: Encoder, state: CaptureState, blueprint: Blueprint): void {
  const key = `${blueprint.prefix}:${blueprint.expression}`;
  const known = state.sources.get(key);
  if (known !== undefined) return encoder.out.number(known);
  state.sources.set(key, state.sources.size);
  state.locations.push(blueprint.location);
  encoder.string(blueprint.expression);
  encoder.out.number(blueprint.prefix);
}

function writeCaptured(encoder: Encoder, value: unknown): void {
  if (value instanceof ImportedName) {
    // Counted like any object, under a key of its own: the same import may be named twice.
    if (!encoder.again(value)) writeImported(encoder, value.imported);
    return;
  }
  if (typeof value === 'function' && isRequire(value)) {
    if (encoder.again(value)) return;
    return encoder.close(encoder.open(Tag.require));
  }
  if (typeof value === 'object' && value !== null) {
    if (writeShared(encoder, value)) return;
    const common = looksLikeModule(value) ? commonExport(value) : undefined;
    if (common !== undefined) {
      if (!encoder.again(value)) writeImported(encoder, common);
      return;
    }
  }
  encoder.encode(value);
}

/** Worth looking for among loaded CommonJS modules: an object with functions in it. */
function looksLikeModule(value: object): boolean {
  if (inDeno || types.isProxy(value) || Object.getPrototypeOf(value) !== Object.prototype)
    return false;
  return Object.values(value).some(item => typeof item === 'function');
}

function isRequire(value: Function): boolean {
  return value.name === 'require' && 'resolve' in value && 'cache' in value;
}

/** Own properties: static fields of a class, marks put on a function, old-style prototypes. */
function writeProperties(encoder: Encoder, fn: Function): void {
  const keys = Object.keys(fn);
  if (keys.length > 0) stateOf(encoder).captured = true;
  encoder.entries(fn, keys);
  const prototype = Object.getOwnPropertyDescriptor(fn, 'prototype')?.value as object | undefined;
  const usable = typeof prototype === 'object' && prototype !== null;
  const added = usable && !types.isGeneratorFunction(fn) ? Object.keys(prototype) : [];
  encoder.entries(added.length > 0 ? prototype! : {}, added);
}

/** A class by all it is made of, the same in every process that has it. */
function digestOf(encoder: Encoder, type: Function): string {
  const state = stateOf(encoder);
  if (state.digesting) return '';
  const inner = new Encoder();
  inner.reset(encoder.reference, captureHooks);
  // Shared, so that a refusal inside names the innermost variable.
  inner.places = encoder.places;
  inner.capture = { ...newState(state.found), modules: state.modules, digesting: true };
  inner.encode(type);
  const { unchecked, missing } = inner.capture as CaptureState;
  state.unchecked.push(...unchecked);
  state.missing ??= missing;
  const hash = createHash('sha256').update(inner.out.finish());
  for (const frame of inner.frames) hash.update(frame);
  const digest = hash.digest('hex').slice(0, 32);
  registerClass(digest, type);
  return digest;
}
