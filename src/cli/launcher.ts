/** `taskloom launcher`: what jupyter-server-proxy starts; see src/launcher. */
import { Launcher } from '../launcher/launcher.ts';

/** Serves until the parent is gone or the process is told to end. */
export async function runLauncher(options: { socket: string }): Promise<void> {
  const parent = Number(process.env['TASKLOOM_PARENT_PID'] ?? 0);
  const launcher = await Launcher.start({
    socket: options.socket,
    ...(Number.isInteger(parent) && parent > 1 ? { parentPid: parent } : {})
  });
  process.once('SIGTERM', () => void launcher.close('ended by SIGTERM'));
  process.once('SIGINT', () => void launcher.close('ended by Ctrl-C'));
  await launcher.finished;
  process.exit(0);
}
