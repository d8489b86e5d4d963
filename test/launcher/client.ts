/**
 * Talks to a launcher over its unix socket as jupyter-server-proxy does.
 */
import { request } from 'node:http';
import { WebSocket } from 'ws';
import type { LauncherEvent } from '../../src/protocol/launcher.ts';
import { until } from '../deploy/processes.ts';

export interface Answer<Body> {
  status: number;
  body: Body;
}

export class LauncherClient {
  readonly socket: string;

  constructor(socket: string) {
    this.socket = socket;
  }

  call<Body>(
    method: string,
    path: string,
    body?: unknown,
    headers: Record<string, string> = {}
  ): Promise<Answer<Body>> {
    return new Promise((resolve, reject) => {
      const options = { socketPath: this.socket, method, path, headers };
      const sent = request(options, response => {
        let text = '';
        response.setEncoding('utf8').on('data', (part: string) => (text += part));
        response.on('end', () => {
          const value = (text === '' ? undefined : JSON.parse(text)) as Body;
          resolve({ status: response.statusCode ?? 0, body: value });
        });
      });
      sent.on('error', reject);
      sent.end(body === undefined ? undefined : JSON.stringify(body));
    });
  }

  open(path: string, headers: Record<string, string> = {}): WebSocket {
    return new WebSocket(`ws+unix://${this.socket}:${path}`, { headers });
  }
}

/** The events link: the newest event, and a wait for one that fits. */
export class Events {
  readonly seen: LauncherEvent[] = [];
  private readonly link: WebSocket;

  constructor(client: LauncherClient) {
    this.link = client.open('/events');
    this.link.on('message', data => {
      this.seen.push(JSON.parse((data as Buffer).toString()) as LauncherEvent);
    });
  }

  get last(): LauncherEvent | undefined {
    return this.seen.at(-1);
  }

  until(what: string, fits: (event: LauncherEvent) => boolean): Promise<LauncherEvent> {
    return until(what, () => {
      const { last } = this;
      return last !== undefined && fits(last) ? last : null;
    });
  }

  close(): void {
    this.link.close();
  }
}
