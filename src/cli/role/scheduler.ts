/** A scheduler process below a nanny, or below `taskloom scheduler --supervise`. */
import { schedulingNumbers } from '../../deploy/scheduling.ts';
import { Log } from '../../diagnostics/log.ts';
import { Scheduler } from '../../scheduler/scheduler.ts';
import { toStderr } from '../failure.ts';
import { beSupervised, liveUntilClosed, orFail } from '../supervised.ts';

const supervisor = await beSupervised('scheduler');
const { cluster, recoverWorkers } = supervisor.setup;
const scheduler = await orFail(
  supervisor,
  Scheduler.start({
    ...cluster,
    ...schedulingNumbers(cluster.scheduling),
    connectionFile: true,
    recoverWorkers,
    onWorkers: count => supervisor.report({ op: 'workers', count }),
    log: new Log('scheduler', toStderr)
  })
);
supervisor.report({ op: 'ready', address: scheduler.address });
liveUntilClosed(supervisor, scheduler);
