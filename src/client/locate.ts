/** Which cluster a client connects to: an object, an address, a name, the active one, or one of its own. */
import { ConfigError } from '../base/errors.ts';
import { activeCluster, findCluster, listConnectionFiles } from '../config/connection-file.ts';
import { LocalCluster } from '../deploy/local.ts';
import type { Warning } from './session.ts';

/** Options of `Client.connect`. */
export interface ConnectOptions {
  /** Token of the cluster; default: its connection file's, or TASKLOOM_TOKEN. */
  token?: string;
  /** Shown in the scheduler's log. */
  name?: string;
  /** Seconds to connect in. Default 10. */
  timeout?: number;
  /** Hears, once for each reason, what nothing has failed of yet; default: console.warn. */
  onWarning?: (warning: Warning) => void;
  /**
   * Part of the workers that this client gets while other clients have work, too: one of weight 2
   * gets twice the time of one of weight 1. Above 0, at most 1000; default 1.
   */
  weight?: number;
  /**
   * Seconds for which a scheduler that is lost is dialled again, futures staying as they are; 0 = not
   * at all. Default 60.
   */
  reconnectTimeout?: number;
}

/** A cluster object: anything that says where it is and how to be let in. */
export interface ClusterLike {
  readonly address: string;
  readonly token: string;
}

interface Access {
  address: string;
  token: string;
}

/** Where it is; `owned` when it was made for this. */
export async function locate(
  target: ClusterLike | string | undefined,
  options: ConnectOptions
): Promise<{ access: Access; owned: { close(): Promise<void> } | null }> {
  if (typeof target === 'object') return { access: target, owned: null };
  const named = target ?? process.env['TASKLOOM_SCHEDULER'] ?? '';
  if (named !== '') return { access: accessByName(named, options.token), owned: null };
  const active = activeCluster();
  if (active !== null) return { access: active, owned: null };
  const cluster = await LocalCluster.create();
  return { access: cluster, owned: cluster };
}

/** A name needs a connection file; an address needs one only for its token. */
function accessByName(target: string, given: string | undefined): Access {
  if (!target.includes('://')) return findCluster(target);
  const address = target.replace(/\/+$/, '');
  const file = listConnectionFiles().find(one => one.address === address);
  const token = given ?? file?.token ?? process.env['TASKLOOM_TOKEN'];
  if (token !== undefined) return { address, token };
  throw new ConfigError(
    `No token for ${address}: it has no connection file here. Give it with ` +
      `Client.connect(address, { token }), or set TASKLOOM_TOKEN.`
  );
}
