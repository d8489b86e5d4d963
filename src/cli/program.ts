/**
 * The commands as people meet them: names, options, help with examples. What a command does is in
 * its own file, loaded when it is called.
 */
import { Command, CommanderError } from 'commander';
import { packageVersion } from '../config/runtime.ts';
import { part, wholeNumber } from './arguments.ts';
import { DRAIN_TIMEOUT } from '../deploy/shape.ts';
import { fail } from './failure.ts';

const EXIT_CODES = `
Exit codes:
  0  done, or ended in order by Ctrl-C or SIGTERM
  1  it failed; standard error says why
  2  the arguments are wrong`;

/** Parses the arguments and runs the command. */
export async function runCommand(argv: readonly string[]): Promise<void> {
  const program = buildProgram();
  try {
    await program.parseAsync(argv);
  } catch (error) {
    if (error instanceof CommanderError) process.exitCode = error.exitCode === 0 ? 0 : 2;
    else fail(error);
  }
}

function buildProgram(): Command {
  const program = new Command('taskloom')
    .description('Distributed futures and task graphs: schedulers, workers, clusters.')
    .version(packageVersion(), '-V, --version', 'print the version')
    .showHelpAfterError('(add --help for what it takes)')
    .configureHelp({ sortSubcommands: false })
    .addHelpText(
      'after',
      `
Examples:
  taskloom cluster start --workers 4      a cluster on this machine, until Ctrl-C
  taskloom cluster ls                     all your clusters, however they were started
  taskloom scheduler --name lab           a scheduler alone, for workers of several machines
  taskloom worker lab                     workers for it
${EXIT_CODES}`
    );
  // Errors of parsing are thrown as CommanderError: they end with code 2, not 1.
  program.exitOverride();
  addScheduler(program);
  addWorker(program);
  addCluster(program);
  addDump(program);
  addHidden(program);
  program
    .command('version')
    .description('print the versions of taskloom, its protocol and Node')
    .action(async () => (await import('./version.ts')).printVersion());
  for (const command of program.commands) overrideExit(command);
  return program;
}

function overrideExit(command: Command): void {
  command.exitOverride();
  for (const inner of command.commands) overrideExit(inner);
}

/** Flags by which a scheduler decides where and when tasks run. */
function addScheduling(command: Command): Command {
  return command
    .option(
      '--worker-saturation <number>',
      'root tasks a thread before others wait; "inf": none waits (default: 1)'
    )
    .option(
      '--allowed-failures <number>',
      'worker deaths that a running task survives (default: 3)',
      wholeNumber
    )
    .option(
      '--workers-timeout <time>',
      'fail tasks that no worker may run for so long; 0 is never (default)'
    )
    .option(
      '--steal-interval <time>',
      'between looks for work that idle workers can take over; 0 is never (default: 1 s)'
    )
    .option(
      '--amm-interval <time>',
      'between looks for copies of values that nobody needs; 0 is never (default: 2 s)'
    );
}

function addScheduler(program: Command): void {
  addScheduling(program.command('scheduler'))
    .description('run a scheduler until Ctrl-C; workers and clients find it by its name')
    .option('--name <name>', 'for people, and for worker and Client.connect')
    .option('--host <address>', 'address to listen on', '127.0.0.1')
    .option('--port <number>', 'port to listen on; 0 is a free one', wholeNumber, 0)
    .option('--insecure', 'listen beyond loopback without encryption')
    .option('--idle-timeout <time>', 'end when there was nothing to do for so long, such as "1 h"')
    .option(
      '--worker-ttl <time>',
      'restart workers silent for so long; 0 is never (default: 5 min)'
    )
    .option(
      '--supervise',
      'start it again when it dies; workers and clients bring back what they have'
    )
    .option(
      '--journal <folder>',
      'keep a journal there: datasets and history outlive the scheduler'
    )
    .addHelpText(
      'after',
      `
The cluster's token is made anew, or taken from TASKLOOM_TOKEN. It is kept in a connection
file that only you can read.

Examples:
  taskloom scheduler --name lab
  taskloom scheduler --host 0.0.0.0 --port 8786 --insecure`
    )
    .action(async options => (await import('./scheduler.ts')).runScheduler(options));
}

function addWorker(program: Command): void {
  const worker = program
    .command('worker')
    .description('run workers for a scheduler, watched and restarted by a nanny, until Ctrl-C')
    .argument('<cluster>', "the cluster's name, id or address")
    .option('--workers <number>', 'worker processes (default: from the cores)', wholeNumber)
    .option('--threads <number>', 'tasks that each runs at a time', wholeNumber)
    .option('--memory-limit <bytes>', 'of each: "2 GiB", "auto" or 0 for none', 'auto')
    .option('--name <name>', 'name of the worker; only with --no-nanny')
    .option('--host <address>', 'address to listen on', '127.0.0.1')
    .option('--insecure', 'listen beyond loopback without encryption')
    .option('--resources <list>', 'what tasks may ask for, such as "GPU=2 license=1"')
    .option('--root <folder>', 'where modules that tasks import are looked for')
    .option(
      '--drain-timeout <time>',
      'for values to be moved away on SIGTERM; 0: none',
      DRAIN_TIMEOUT
    )
    .option('--no-nanny', 'one worker in this very process, not watched')
    .addHelpText(
      'after',
      `
The token comes from the cluster's connection file; for a scheduler of another machine put it
into the environment variable TASKLOOM_TOKEN.

Examples:
  taskloom worker lab
  taskloom worker lab --workers 2 --threads 4 --memory-limit "4 GiB"
  TASKLOOM_TOKEN=... taskloom worker http://10.0.0.5:8786 --host 10.0.0.6 --insecure`
    )
    .action(async (cluster, options) => (await import('./worker.ts')).runWorker(cluster, options));
  addMemory(worker);
}

/** What commands that start workers say of their memory. */
function addMemory(command: Command): void {
  command
    .option('--memory-target <part>', 'of the limit that values may take (default: 0.6)', part)
    .option('--memory-spill <part>', 'at which values go to disk (default: 0.7)', part)
    .option('--memory-pause <part>', 'beyond which it starts nothing (default: 0.8)', part)
    .option('--memory-terminate <part>', 'beyond which it is ended (default: 0.95)', part)
    .option('--max-spill <bytes>', 'that files may take, such as "20 GiB" (default: no limit)')
    .option('--env <variables...>', "variables of the workers' environment, NAME=value each")
    .option('--local-directory <folder>', 'where values go that do not fit memory')
    .option(
      '--python <path>',
      'interpreter of Python tasks (default: TASKLOOM_PYTHON; none: no Python)'
    )
    .option('--python-threads', 'run Python tasks as threads of one process a worker')
    .option('--lifetime <time>', 'after which a worker leaves, such as "6 h" (default: never)')
    .option('--lifetime-stagger <time>', 'by which lifetimes differ, by chance (default: 0)')
    .option('--lifetime-restart', 'start a worker anew when its lifetime is over');
}

function addCluster(program: Command): void {
  const cluster = program.command('cluster').description('start, list, scale and stop clusters');
  const start = addScheduling(cluster.command('start'))
    .description('start a cluster on this machine, until Ctrl-C')
    .option('--name <name>', 'for people and for Client.connect')
    .option('--workers <number>', 'worker processes (default: from the cores)', wholeNumber)
    .option('--threads <number>', 'tasks that each worker runs at a time', wholeNumber)
    .option('--memory-limit <bytes>', 'of each worker: "2 GiB", "auto" or 0 for none', 'auto')
    .option('--host <address>', 'address to listen on', '127.0.0.1')
    .option('--port <number>', 'port of the scheduler; 0 is a free one', wholeNumber, 0)
    .option('--insecure', 'listen beyond loopback without encryption')
    .option('--resources <list>', 'what tasks may ask of each worker, such as "GPU=2"')
    .option('--root <folder>', 'where modules that tasks import are looked for')
    .option(
      '--drain-timeout <time>',
      'for values to be moved away on SIGTERM; 0: none',
      DRAIN_TIMEOUT
    )
    .option('--idle-timeout <time>', 'end when there was nothing to do for so long, such as "1 h"')
    .option(
      '--worker-ttl <time>',
      'restart workers silent for so long; 0 is never (default: 5 min)'
    )
    .option(
      '--journal <folder>',
      'keep a journal there: datasets and history outlive the scheduler'
    )
    .option('--detach', 'leave it running; taskloom cluster stop ends it')
    .addHelpText(
      'after',
      `
Examples:
  taskloom cluster start
  taskloom cluster start --workers 2 --threads 1 --memory-limit "2 GiB"
  taskloom cluster start --name nightly --detach`
    )
    .action(async options => (await import('./cluster-start.ts')).startCluster(options));
  addMemory(start);
  cluster
    .command('ls')
    .description('list your clusters, however they were started')
    .option('--json', 'for programs')
    .addHelpText('after', '\nExamples:\n  taskloom cluster ls\n  taskloom cluster ls --json')
    .action(async options => (await import('./cluster.ts')).listClusters(options));
  cluster
    .command('scale')
    .description('ask for another number of workers')
    .argument('<cluster>', "the cluster's name, id or address")
    .argument('<workers>', 'how many it shall have', wholeNumber)
    .addHelpText('after', '\nExample:\n  taskloom cluster scale local-7f3a 8')
    .action(async (target, workers) =>
      (await import('./cluster.ts')).scaleCluster(target, workers)
    );
  cluster
    .command('adapt')
    .description('have as many workers as the work asks for, from now on')
    .argument('<cluster>', "the cluster's name, id or address")
    .option('--minimum <number>', 'never fewer', wholeNumber, 0)
    .option('--maximum <number>', 'never more (default: no bound)', wholeNumber)
    .option('--off', 'keep what it has now')
    .addHelpText(
      'after',
      '\nExamples:\n  taskloom cluster adapt local-7f3a --minimum 1 --maximum 8\n  taskloom cluster adapt local-7f3a --off'
    )
    .action(async (target, options) =>
      (await import('./cluster.ts')).adaptCluster(target, options)
    );
  cluster
    .command('stop')
    .description('end clusters with all their processes')
    .argument('[clusters...]', 'names, ids or addresses')
    .option('--all', 'all of yours')
    .addHelpText(
      'after',
      '\nExamples:\n  taskloom cluster stop local-7f3a\n  taskloom cluster stop --all'
    )
    .action(async (targets, options) =>
      (await import('./cluster.ts')).stopClusters(targets, options)
    );
  cluster
    .command('logs')
    .description('print the last lines of a scheduler, its workers and its nannies')
    .argument('<cluster>', "the cluster's name, id or address")
    .addHelpText('after', '\nExample:\n  taskloom cluster logs local-7f3a')
    .action(async target => (await import('./cluster.ts')).printLogs(target));
  addQuestions(cluster);
  cluster
    .command('dashboard')
    .description("print the link to a cluster's dashboard page; whoever has it is let in")
    .argument('<cluster>', "the cluster's name, id or address")
    .addHelpText('after', '\nExample:\n  taskloom cluster dashboard local-7f3a')
    .action(async target => (await import('./cluster.ts')).printDashboard(target));
}

/** What is asked of a running cluster. */
function addQuestions(cluster: Command): void {
  cluster
    .command('explain')
    .description('print why a task is where it is, and what can be done')
    .argument('<cluster>', "the cluster's name, id or address")
    .argument('<key>', 'the key of the task')
    .addHelpText('after', '\nExample:\n  taskloom cluster explain lab sum-1')
    .action(async (target, key) => (await import('./inspect.ts')).printExplanation(target, key));
  cluster
    .command('story')
    .description('print the newest steps of a task on the scheduler and the workers')
    .argument('<cluster>', "the cluster's name, id or address")
    .argument('<key>', 'the key of the task')
    .addHelpText('after', '\nExample:\n  taskloom cluster story lab sum-1')
    .action(async (target, key) => (await import('./inspect.ts')).printStory(target, key));
  cluster
    .command('stacks')
    .description('print what the running tasks execute at this moment')
    .argument('<cluster>', "the cluster's name, id or address")
    .addHelpText('after', '\nExample:\n  taskloom cluster stacks lab')
    .action(async target => (await import('./inspect.ts')).printStacks(target));
}

function addDump(program: Command): void {
  const dump = program
    .command('dump')
    .description("write a cluster's state into a file, without values and token")
    .argument('<cluster>', "the cluster's name, id or address")
    .argument('<file>', 'where to write it')
    .addHelpText(
      'after',
      '\nExamples:\n  taskloom dump lab lab.dump\n  taskloom dump show lab.dump'
    )
    .action(async (target, file) => (await import('./dump.ts')).takeDump(target, file));
  dump
    .command('show')
    .description('print a summary of a file, or all it has of a key or worker; needs no cluster')
    .argument('<file>', 'a file that taskloom dump or client.dumpClusterState wrote')
    .option('--key <key>', 'all that is known of this task')
    .option('--worker <name>', 'all that is known of this worker, by name or address')
    .option('--story <key>', 'the steps of this task on scheduler and workers')
    .addHelpText(
      'after',
      '\nExamples:\n  taskloom dump show lab.dump\n  taskloom dump show lab.dump --story sum-1'
    )
    .action(async (file, options) => (await import('./dump.ts')).showDump(file, options));
}

/** What other programs start: not for people, so not in the help. */
function addHidden(program: Command): void {
  program
    .command('launcher', { hidden: true })
    .description('serve clusters to JupyterLab on a unix socket; started by jupyter-server-proxy')
    .requiredOption('--socket <path>', 'the unix socket to listen on')
    .addHelpText('after', '\nExample:\n  taskloom launcher --socket /tmp/folder/socket')
    .action(async options => (await import('./launcher.ts')).runLauncher(options));
}
