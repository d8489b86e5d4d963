/** Which of what the profilers of Python executors have seen is asked for, see `client.profile`. */
export interface ProfileWish {
  /** Of the tasks' function; null: of all. */
  name: string | null;
  /** Seconds since the epoch, by the workers' clocks; null: no bound. */
  start: number | null;
  stop: number | null;
}
