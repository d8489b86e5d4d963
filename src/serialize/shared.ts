/** Things that need not be sent, because the other side has them: globals, installed modules. */
import type { Encoder } from './encode.ts';
import { globalPathOf } from './globals.ts';
import { builtinExport, importedHere, recordedExport } from './modules.ts';
import type { Imported } from './modules.ts';
import { Tag } from './tags.ts';

/** Things that the other side has as well: globals, and exports of installed modules. */
export function writeShared(encoder: Encoder, value: object): boolean {
  const path = globalPathOf(value);
  if (path !== undefined) {
    if (encoder.again(value)) return true;
    const start = encoder.open(Tag.global);
    encoder.string(path);
    encoder.close(start);
    return true;
  }
  const imported = importedHere.get(value) ?? builtinExport(value) ?? recordedExport(value);
  if (imported === undefined) return false;
  if (!encoder.again(value)) writeImported(encoder, imported);
  return true;
}

/** Writes where something is imported from. */
export function writeImported(encoder: Encoder, imported: Imported): void {
  const { specifier, url } = imported.module;
  let index = encoder.modules.findIndex(item => item.specifier === specifier && item.url === url);
  if (index < 0) index = encoder.modules.push(imported.module) - 1;
  const start = encoder.open(Tag.imported);
  encoder.out.number(index);
  encoder.string(imported.path);
  encoder.close(start);
}
