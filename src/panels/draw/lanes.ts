/**
 * Where the lanes of a task stream stand: one block a worker, one row a lane, in the order of the
 * workers. Lanes without a bar in sight and of workers that are gone take no room.
 */
import type { FeedStore } from '../model/store.ts';

export interface PlacedLane {
  laneId: number;
  y: number;
  height: number;
}

export interface WorkerLabel {
  worker: number;
  text: string;
  y: number;
  height: number;
}

export interface LaneLayout {
  lanes: PlacedLane[];
  labels: WorkerLabel[];
  /** Height of all lanes; more than the room given when they do not fit. */
  height: number;
}

const LANE_MIN = 3;
const LANE_MAX = 160;

/** Places the lanes into `room` pixels of height, from `top` on, for a view of [t0, t1]. */
export function layoutLanes(
  store: FeedStore,
  t0: number,
  t1: number,
  top: number,
  room: number
): LaneLayout {
  const shown: { laneId: number; worker: number; lane: number }[] = [];
  store.stream.lanes.forEach((lane, laneId) => {
    const here = store.workers.get(lane.worker)?.gone === null;
    if (here || store.stream.countIn(laneId, t0, t1) > 0) {
      shown.push({ laneId, worker: lane.worker, lane: lane.lane });
    }
  });
  const { workers: table } = store;
  shown.sort((a, b) => table.rank(a.worker) - table.rank(b.worker) || a.lane - b.lane);
  const workers = new Set(shown.map(lane => lane.worker)).size;
  if (shown.length === 0) return { lanes: [], labels: [], height: 0 };
  const loose = room / shown.length > 14;
  const between = loose ? 8 : room / shown.length > 5 ? 3 : 1;
  const within = loose ? 1 : 0;
  const spare = room - between * (workers - 1) - within * (shown.length - workers);
  const height = Math.max(LANE_MIN, Math.min(LANE_MAX, Math.floor(spare / shown.length)));
  return place(store, shown, { top, height, between, within });
}

function place(
  store: FeedStore,
  shown: readonly { laneId: number; worker: number }[],
  size: { top: number; height: number; between: number; within: number }
): LaneLayout {
  const lanes: PlacedLane[] = [];
  const labels: WorkerLabel[] = [];
  let y = size.top;
  let before: number | null = null;
  for (const { laneId, worker } of shown) {
    const label = labels.at(-1);
    if (worker === before && label !== undefined) {
      y += size.within;
      label.height = y + size.height - label.y;
    } else {
      if (before !== null) y += size.between;
      labels.push({ worker, text: store.workerName(worker), y, height: size.height });
      before = worker;
    }
    lanes.push({ laneId, y, height: size.height });
    y += size.height;
  }
  return { lanes, labels, height: y - size.top };
}

/** The lane at a height, or null between lanes. */
export function laneAt(layout: LaneLayout, y: number): PlacedLane | null {
  return layout.lanes.find(lane => y >= lane.y && y < lane.y + lane.height) ?? null;
}
