/**
 * The `taskloom` command. Processes that others of ours start (`<role> --supervised`) go straight
 * to their code: their start-up is the start-up of a cluster, and the parser of arguments is not
 * needed. For people there is commander, one file a command, each loaded when it is called.
 *
 * Exit codes: 0 done; 1 it failed, with a sentence on standard error; 2 the arguments are wrong;
 * 143 and 130 when a second SIGTERM or SIGINT cuts an orderly end short.
 */
const [role, flag] = process.argv.slice(2);

if (flag === '--supervised') {
  const { runSupervised } = await import('./supervised.ts');
  await runSupervised(role ?? '');
} else {
  const { runCommand } = await import('./program.ts');
  await runCommand(process.argv);
}
