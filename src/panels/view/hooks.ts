/** How React follows a feed: once a frame at most, and not at all while nobody sees it. */
import { useEffect, useReducer, useRef, useState } from 'react';
import type { RefObject } from 'react';

import { Frames } from '../draw/frames.ts';
import type { FeedStore } from '../model/store.ts';

/** Draws the component again after changes of the store while `element` is in sight. */
export function useFeed(store: FeedStore | null, element: RefObject<Element | null>): void {
  const [, again] = useReducer((count: number) => count + 1, 0);
  useEffect(() => {
    if (store === null || element.current === null) return undefined;
    const frames = new Frames(element.current, again);
    const stop = store.subscribe(() => frames.request());
    frames.request();
    return () => {
      stop();
      frames.close();
    };
  }, [store, element]);
}

/** A text that changes at most every five seconds, for `aria-live`: more is noise. */
export function useCalmText(text: () => string, everyMs = 5000): string {
  const [shown, setShown] = useState('');
  const latest = useRef(text);
  latest.current = text;
  useEffect(() => {
    const tell = (): void => {
      if (!document.hidden) setShown(latest.current());
    };
    const first = setTimeout(tell, 500);
    const timer = setInterval(tell, everyMs);
    return () => {
      clearTimeout(first);
      clearInterval(timer);
    };
  }, [everyMs]);
  return shown;
}
