/**
 * Runs one TypeScript file of this checkout, with the Node that the set-up found:
 * `node scripts/run.mjs FILE [ARG…]`. What `npm run sim` and `npm run bench` are.
 */
import { setup } from './setup.mjs';
import { SetupError, main, run } from './steps.mjs';

main(async () => {
  const [file, ...args] = process.argv.slice(2);
  if (file === undefined) throw new SetupError('Say which file: node scripts/run.mjs FILE [ARG…]');
  const { node, env } = await setup();
  const { code } = await run(node, [file, ...args], { env, live: true });
  process.exitCode = code;
});
