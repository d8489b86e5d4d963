/** What a panel is given, wherever it stands: in the lab, in a cell's output, on the page. */
import { Palette } from '../model/colour.ts';
import type { FeedStore } from '../model/store.ts';
import type { Words } from './words.ts';

export interface PanelProps {
  /** The cluster's feed, or null when there is no cluster to look at. */
  store: FeedStore | null;
  palette: Palette;
  words: Words;
}

/** What each view of a panel is given once there is a feed. */
export type ViewProps = PanelProps & { store: FeedStore };

/** The page's own palette: panels, progress bars and legends agree through it. */
export const pagePalette = new Palette();
