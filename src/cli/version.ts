/** `taskloom version`. */
import { packageVersion } from '../config/runtime.ts';
import { PROTOCOL_VERSION } from '../protocol/limits.ts';

/** Prints one line a fact. */
export function printVersion(): void {
  process.stdout.write(
    `taskloom ${packageVersion()}\nprotocol ${PROTOCOL_VERSION}\nnode     ${process.versions.node}\n`
  );
}
