/**
 * Task stream: what every thread does, over time. The canvas and its gestures live in draw/; here
 * stand the controls, the legend, the tooltip, the time bar and the table.
 */
import { useEffect, useRef, useState } from 'react';
import type { PointerEvent, ReactElement, RefObject } from 'react';

import { StreamController } from '../draw/controller.ts';
import type { Hover } from '../draw/controller.ts';
import { paintTimeBar, timeAt } from '../draw/timebar.ts';
import { showTime } from '../draw/viewport.ts';
import type { Viewport } from '../draw/viewport.ts';
import { formatCount, formatDuration } from '../model/format.ts';
import type { FeedStore } from '../model/store.ts';
import { summariseStream } from '../model/summary.ts';
import { PanelFrame } from './frame.tsx';
import type { ViewProps } from './panel.ts';
import { StreamTable } from './stream-table.tsx';
import type { Words } from './words.ts';

/** The panel. */
export function TaskStream(props: ViewProps): ReactElement {
  const { store, words } = props;
  const controller = useRef<StreamController | null>(null);
  const [mode, setMode] = useState<Viewport['mode']>('live');
  const go = (next: 'live' | 'fit'): void => {
    const now = controller.current;
    now?.setView({ ...now.view, mode: next });
    setMode(next);
  };
  const range = (): [number, number] => {
    const view = controller.current?.view;
    return view === undefined ? [store.now - 30_000, store.now] : [view.t0, view.t1];
  };
  const erased = store.stream.total - store.stream.count;
  return (
    <PanelFrame
      {...props}
      id="task-stream"
      title={words.__('Task stream')}
      summary={() => summariseStream(store, ...range())}
      note={erased > 0 ? words.__('newest %1 bars', formatCount(store.stream.count)) : undefined}
      controls={
        <>
          <ModeButton mode="live" now={mode} go={go} words={words} />
          <ModeButton mode="fit" now={mode} go={go} words={words} />
        </>
      }
      drawing={<Drawing {...props} controller={controller} mode={mode} setMode={setMode} />}
      table={() => <StreamTable store={store} words={words} range={range()} />}
    />
  );
}

interface ModeButtonProps {
  mode: 'live' | 'fit';
  now: Viewport['mode'];
  go: (mode: 'live' | 'fit') => void;
  words: Words;
}

function ModeButton({ mode, now, go, words }: ModeButtonProps): ReactElement {
  const title = mode === 'live' ? words.__('Follow the newest (l)') : words.__('Show all (f)');
  return (
    <button
      type="button"
      className={`tl-link tl-mode-${mode}`}
      aria-pressed={now === mode}
      title={title}
      onClick={() => go(mode)}
    >
      {mode === 'live' ? words.__('live') : words.__('fit')}
    </button>
  );
}

interface DrawingProps extends ViewProps {
  controller: RefObject<StreamController | null>;
  mode: Viewport['mode'];
  setMode: (mode: Viewport['mode']) => void;
}

function Drawing(props: DrawingProps): ReactElement {
  const { store, palette, words, setMode } = props;
  const canvas = useRef<HTMLCanvasElement>(null);
  const bar = useRef<HTMLCanvasElement>(null);
  const clock = useRef<HTMLSpanElement>(null);
  const [hover, setHover] = useState<Hover | null>(null);
  const controllerRef = props.controller as { current: StreamController | null };
  useEffect(() => {
    if (canvas.current === null) return undefined;
    const view = controllerRef.current?.view;
    const made = new StreamController(canvas.current, store, palette, {
      hover: setHover,
      drawn: drawn => {
        setMode(drawn.view.mode);
        if (bar.current !== null) drawBar(bar.current, drawn);
        if (clock.current !== null) clock.current.textContent = clockOf(drawn.view.t0, store);
      }
    });
    // Coming back from the table: the user's zoom is still there.
    if (view !== undefined) made.setView(view);
    controllerRef.current = made;
    return () => made.close();
  }, [store, palette, setMode, controllerRef]);
  const follows = props.mode === 'live' && store.status === 'live';
  return (
    <div className="tl-stream">
      <div className="tl-stream-canvas">
        <canvas
          ref={canvas}
          tabIndex={0}
          role="img"
          aria-label={words.__(
            'Task stream. Arrow keys or W A S D move and zoom, f shows all, l follows, t shows a table.'
          )}
        />
        {store.stream.count === 0 ? (
          <p className="tl-empty">{words.__('Nothing has run yet.')}</p>
        ) : null}
        {hover === null ? null : <Tooltip hover={hover} store={store} words={words} />}
      </div>
      <Legend {...props} highlight={fn => controllerRef.current?.setHighlight(fn)} />
      <div className="tl-timebar">
        <span ref={clock} className="tl-timebar-clock" title={words.__('Start of the view')} />
        <TimeBar canvas={bar} controller={controllerRef} words={words} />
        <span className={`tl-timebar-mode${follows ? ' tl-timebar-live' : ''}`}>
          {modeWord(props.mode, follows, words)}
        </span>
      </div>
    </div>
  );
}

/** What the view does when new bars come; nothing is live when none can come. */
function modeWord(mode: Viewport['mode'], follows: boolean, words: Words): string {
  if (mode === 'live') return follows ? `● ${words.__('live')}` : words.__('newest');
  return mode === 'fit' ? words.__('all') : words.__('held');
}

function TimeBar(props: {
  canvas: RefObject<HTMLCanvasElement | null>;
  controller: RefObject<StreamController | null>;
  words: Words;
}): ReactElement {
  const move = (event: PointerEvent<HTMLCanvasElement>): void => {
    const controller = props.controller.current;
    if (controller === null || event.buttons !== 1) return;
    const { extent, view } = controller;
    if (extent.first > extent.last) return;
    event.currentTarget.setPointerCapture(event.pointerId);
    const middle = timeAt(
      { extent, width: event.currentTarget.clientWidth },
      event.nativeEvent.offsetX
    );
    // A view that shows all cannot be moved: take a fifth of it.
    const all = extent.last - extent.first;
    const span = Math.min(view.t1 - view.t0, view.mode === 'fixed' ? Infinity : all / 5);
    controller.setView(showTime(view, middle - span / 2, middle + span / 2));
  };
  return (
    <canvas
      ref={props.canvas as RefObject<HTMLCanvasElement>}
      className="tl-timebar-canvas"
      aria-hidden="true"
      title={props.words.__('The whole run: drag to another time')}
      onPointerDown={move}
      onPointerMove={move}
    />
  );
}

function drawBar(canvas: HTMLCanvasElement, controller: StreamController): void {
  const context = canvas.getContext('2d');
  const width = canvas.clientWidth;
  const height = canvas.clientHeight;
  if (context === null || width < 4 || height < 4) return;
  const ratio = window.devicePixelRatio;
  if (canvas.width !== Math.round(width * ratio)) canvas.width = Math.round(width * ratio);
  if (canvas.height !== Math.round(height * ratio)) canvas.height = Math.round(height * ratio);
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  const { extent, view, theme, store } = controller;
  const size = { width, height, t0: view.t0, t1: view.t1 };
  paintTimeBar(context, { overview: store.overview, extent, theme, ...size });
}

function clockOf(time: number, store: FeedStore): string {
  return store.stream.count === 0 ? '' : new Date(time).toLocaleTimeString();
}

function Tooltip(props: { hover: Hover; store: FeedStore; words: Words }): ReactElement {
  const { hover, store, words } = props;
  const { bar } = hover;
  const origin = store.overview.origin;
  const kind = kindWord(bar.kind, words);
  return (
    <div className="tl-tooltip" role="tooltip" style={tooltipPlace(hover)}>
      <strong>{store.nameOf(bar.fn)}</strong>
      <span>
        {kind === '' ? formatDuration(bar.duration) : `${kind} · ${formatDuration(bar.duration)}`}
      </span>
      <span className="tl-muted">
        {words.__('%1, slot %2', store.workerName(bar.worker), bar.lane + 1)} · +
        {formatDuration(bar.start - origin)}
      </span>
    </div>
  );
}

function tooltipPlace(hover: Hover): { left?: number; top: number; transform: string } {
  // To the left of the pointer once there is room for it, so that it never leaves the panel.
  const leftward = hover.x > 220;
  return {
    left: leftward ? hover.x - 12 : hover.x + 14,
    top: Math.max(4, hover.y - 20),
    transform: leftward ? 'translateX(-100%)' : 'none'
  };
}

function kindWord(kind: string, words: Words): string {
  switch (kind) {
    case 'transfer':
      return words.__('transfer');
    case 'disk':
      return words.__('disk');
    case 'deserialize':
      return words.__('deserialise');
    case 'erred':
      return words.__('erred');
    default:
      return '';
  }
}

const LEGEND_MOST = 10;

function Legend(props: ViewProps & { highlight: (fn: number | null) => void }): ReactElement {
  const { store, palette, words, highlight } = props;
  const names = store.functions.slice(0, LEGEND_MOST);
  return (
    <ul className="tl-legend" aria-label={words.__('Colours')}>
      {names.map((name, fn) => (
        <li key={fn} onPointerEnter={() => highlight(fn)} onPointerLeave={() => highlight(null)}>
          <i className="tl-swatch" style={{ background: palette.cssOf(name) }} aria-hidden="true" />
          {name}
        </li>
      ))}
      {store.functions.length > LEGEND_MOST ? (
        <li className="tl-muted">{words.__('+ %1 more', store.functions.length - LEGEND_MOST)}</li>
      ) : null}
      <li>
        <i className="tl-swatch tl-swatch-transfer" aria-hidden="true" />
        {words.__('transfer')}
      </li>
      <li>
        <i className="tl-swatch tl-swatch-disk" aria-hidden="true" />
        {words.__('disk')}
      </li>
      <li>
        <i className="tl-swatch tl-swatch-erred" aria-hidden="true">
          ×
        </i>
        {words.__('erred')}
      </li>
    </ul>
  );
}
