/**
 * HTTP Upgrade by hand, both sides of it: Node's own client takes several times as long to hand
 * over a socket.
 */
const END = '\r\n\r\n';
/** Bytes that the head of an answer may have. */
const HEAD_BYTES = 16_384;

export function upgradeRequest(
  { host, path, token }: { host: string; path: string; token: string },
  protocol: string
): string {
  return (
    `GET ${path} HTTP/1.1\r\nHost: ${host}\r\nConnection: Upgrade\r\nUpgrade: ${protocol}\r\n` +
    `Authorization: Bearer ${token}${END}`
  );
}

/** What a server says before the socket speaks the protocol. */
export function upgradeAnswer(protocol: string): string {
  return `HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: ${protocol}${END}`;
}

/** Reads the answer to a request, which may come in pieces. */
export class UpgradeReader {
  private head: Buffer = Buffer.alloc(0);

  /** The bytes after the answer once it is there; null before. Throws `status 401` and the like. */
  push(chunk: Uint8Array): Uint8Array | null {
    this.head = Buffer.concat([this.head, chunk]);
    const end = this.head.indexOf(END);
    if (end < 0 && this.head.length < HEAD_BYTES) return null;
    const status =
      /^HTTP\/1\.1 (\d{3})/.exec(this.head.toString('latin1', 0, 16))?.[1] ?? 'unknown';
    if (status !== '101' || end < 0) throw new Error(`status ${status}`);
    return this.head.subarray(end + END.length);
  }
}
