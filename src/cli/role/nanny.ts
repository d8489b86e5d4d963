/** A nanny that owns a whole cluster, below the process that made it. */
import { createNannyId } from '../../nanny/link.ts';
import { Nanny } from '../../nanny/nanny.ts';
import { toStderr } from '../failure.ts';
import { beSupervised, closeOnOrder, closeOnSignal } from '../supervised.ts';

const supervisor = await beSupervised('nanny');
const { cluster, workers, shape, lease } = supervisor.setup;
const nanny = Nanny.create({
  id: createNannyId(),
  token: cluster.token,
  cluster,
  workers,
  shape,
  onLog: toStderr
});
if (lease) {
  supervisor.onParentGone(() => void nanny.close('the process that made it has ended'));
}
closeOnOrder(supervisor, nanny);
closeOnSignal(supervisor, reason => nanny.close(reason));
void nanny.finished.then(reason => {
  supervisor.report({ op: 'finished', reason });
  process.exit(0);
});
// When it ends instead, `finished` above says why.
await nanny.running().then(
  () => supervisor.report({ op: 'ready', address: nanny.address }),
  () => undefined
);
