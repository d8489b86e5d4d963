/**
 * Passes a cluster's dashboard feed on to a browser. The token is added here and never seen there.
 * The scheduler's link is opened before the browser's is accepted, so that a cluster that is gone
 * is told by a refusal; a browser that falls behind slows its own feed and nothing else.
 */
import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import { WebSocket, WebSocketServer } from 'ws';
import type { RawData } from 'ws';
import type { SchedulerAccess } from '../deploy/api.ts';
import { CLOSE, LIMITS } from '../protocol/limits.ts';

const browsers = new WebSocketServer({
  noServer: true,
  perMessageDeflate: false,
  maxPayload: LIMITS.viewerFrameBytes
});

/** Upgrades the request and joins the two links until one closes. */
export function proxyFeed(
  access: SchedulerAccess,
  request: IncomingMessage,
  socket: Duplex,
  head: Buffer,
  refuse: (socket: Duplex, status: string) => void
): void {
  const scheduler = new WebSocket(`${access.address.replace(/^http/, 'ws')}/feed`, {
    headers: { Authorization: `Bearer ${access.token}` },
    perMessageDeflate: false,
    maxPayload: LIMITS.controlFrameBytes,
    handshakeTimeout: LIMITS.handshakeMs
  });
  const gone = (): void => scheduler.terminate();
  socket.once('close', gone);
  const onError = (): void => refuse(socket, '502 Bad Gateway');
  scheduler.once('error', onError);
  // What the scheduler says before the browser is there waits in its socket.
  scheduler.once('open', () => {
    scheduler.off('error', onError);
    scheduler.on('error', () => undefined);
    socket.off('close', gone);
    scheduler.pause();
    browsers.handleUpgrade(request, socket, head, browser => {
      join(scheduler, browser);
      scheduler.resume();
    });
  });
}

function join(scheduler: WebSocket, browser: WebSocket): void {
  scheduler.on('message', (data: RawData, binary: boolean) => {
    if (browser.readyState !== WebSocket.OPEN) return;
    browser.send(data, { binary }, () => {
      if (scheduler.isPaused && browser.bufferedAmount < LIMITS.viewerOutboxBytes / 2) {
        scheduler.resume();
      }
    });
    if (browser.bufferedAmount > LIMITS.viewerOutboxBytes) scheduler.pause();
  });
  browser.on('message', (data: RawData, binary: boolean) => {
    if (scheduler.readyState === WebSocket.OPEN) scheduler.send(data, { binary });
  });
  browser.on('error', () => undefined);
  scheduler.once('close', (code, reason) => browser.close(passable(code), reason));
  browser.once('close', () => scheduler.close(CLOSE.normal));
}

/** Some codes only say how a link ended and cannot be sent. */
function passable(code: number): number {
  return code === 1000 || (code >= 4000 && code < 5000) ? code : CLOSE.goingAway;
}
