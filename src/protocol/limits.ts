/**
 * Every limit of the wire in one place. A peer that passes one of these is cut off with a coded
 * close; nothing here depends on goodwill.
 */

/** Version of the wire protocol; both sides of a link must have the same. */
export const PROTOCOL_VERSION = 1;

export const LIMITS = {
  /** Bytes of one control frame. Larger graphs are sent in parts. */
  controlFrameBytes: 64 * 1024 * 1024,
  /** Bytes of one frame that a dashboard viewer may send. */
  viewerFrameBytes: 64 * 1024,
  /** Bytes of the head of a data message (msgpack). */
  dataHeadBytes: 8 * 1024 * 1024,
  /** Bytes of one raw data frame. */
  dataFrameBytes: 4 * 1024 * 1024 * 1024,
  /** Raw frames in one data message. */
  dataFrames: 1_000_000,
  /** Bytes a link may have queued before the peer counts as gone (control links). */
  outboxBytes: 1024 * 1024 * 1024,
  /** Bytes a viewer may have queued before it is told to resync. */
  viewerOutboxBytes: 8 * 1024 * 1024,
  /** Bytes of an HTTP request body. */
  httpBodyBytes: 1024 * 1024,
  /** Messages in one batch. */
  batchMessages: 1_000_000,
  /** Tasks in one update-graph message; larger graphs are sent in parts. */
  graphTasks: 250_000,
  /** Characters of a key. */
  keyChars: 4096,
  /** Bytes of a result that travels with its completion. */
  inlineResultBytes: 4096,
  /** Bytes of an exception's serialised form. */
  exceptionBytes: 1024 * 1024,
  /** Characters of a traceback. */
  tracebackChars: 20_000,
  /** Bytes of a function with all it captures. */
  functionBytes: 48 * 1024 * 1024,
  /** Milliseconds in which a new link must have said hello. */
  handshakeMs: 10_000,
  /** Milliseconds between the pings of both ends of a control link. */
  keepAliveMs: 15_000,
  /** Milliseconds without a byte after which the peer of a control link counts as gone. */
  silenceMs: 60_000,
  /** Milliseconds without a byte after which the peer of a data link that owes answers counts as gone. */
  dataSilenceMs: 300_000
} as const;

/** WebSocket close codes of ours (4000-4999 are free for applications). */
export const CLOSE = {
  normal: 1000,
  goingAway: 1001,
  badFrame: 4000,
  frameTooLarge: 1009,
  badVersion: 4002,
  badHello: 4003,
  outboxFull: 4004,
  handshakeTimeout: 4005,
  replaced: 4006,
  unresponsive: 4007
} as const;
