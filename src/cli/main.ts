/**
 * The `taskloom` command as people and other programs call it. The processes that our own nannies
 * start (`<role> --supervised`) do not come here: taskloom.mjs loads role/ for them.
 *
 * Exit codes: 0 done; 1 it failed, with a sentence on standard error; 2 the arguments are wrong;
 * 143 and 130 when a second SIGTERM or SIGINT cuts an orderly end short.
 */
import { runCommand } from './program.ts';

await runCommand(process.argv);
