/** A step in the life of a task, see `client.story`. */
export interface StoryLine {
  /** ms since the epoch, by the scheduler's clock. */
  time: number;
  /** `scheduler`, or the name of a worker. */
  where: string;
  key: string;
  /** What happened; `start -> finish` for a transition. */
  text: string;
  /** States of a transition; both '' for anything else. */
  start: string;
  finish: string;
  /** Id of the event that caused it, the same on both sides of a link. */
  stimulus: string;
}
