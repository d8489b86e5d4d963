/** Every panel there is: one list for the sidebar, the palette, cell outputs and the page. */
import { useRef } from 'react';
import type { ComponentType, ReactElement } from 'react';

import { NoCluster } from './frame.tsx';
import { useFeed } from './hooks.ts';
import type { PanelProps, ViewProps } from './panel.ts';
import { Progress } from './progress.tsx';
import { TaskStream } from './task-stream.tsx';
import { Workers } from './workers.tsx';

export interface PanelType {
  /** Stands in layouts, notebooks and commands: never changes. */
  id: string;
  /** English; passed through translation where it is shown. */
  title: string;
  description: string;
  group: string;
  component: ComponentType<ViewProps>;
}

/** In the order in which they are listed. */
export const PANELS: readonly PanelType[] = [
  {
    id: 'task-stream',
    title: 'Task stream',
    description: 'what every thread does, over time',
    group: 'Now',
    component: TaskStream
  },
  {
    id: 'progress',
    title: 'Progress',
    description: 'how far each function is',
    group: 'Now',
    component: Progress
  },
  {
    id: 'workers',
    title: 'Workers',
    description: 'memory, CPU, tasks, traffic',
    group: 'Now',
    component: Workers
  }
];

/** A panel by its id, or undefined when this version has none of that name. */
export function panelById(id: string): PanelType | undefined {
  return PANELS.find(panel => panel.id === id);
}

/** A panel that follows its store, or what stands in its place while there is no cluster. */
export function PanelView(props: PanelProps & { panel: PanelType }): ReactElement {
  const { panel, store, words } = props;
  const root = useRef<HTMLDivElement>(null);
  useFeed(store, root);
  const Component = panel.component;
  return (
    <div className="tl-panel-view" ref={root}>
      {store === null ? (
        <NoCluster words={words} title={words.__(panel.title)} />
      ) : (
        <Component key={store.cluster?.id ?? ''} {...props} store={store} />
      )}
    </div>
  );
}
