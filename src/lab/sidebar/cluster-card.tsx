/** A cluster in the sidebar: state in shape and words, vital numbers, the reason, what can be done. */
import type { KeyboardEvent, PointerEvent, ReactElement } from 'react';

import { formatAge, formatBytes, plural } from '../../panels/model/format.ts';
import type { Words } from '../../panels/view/words.ts';
import type { ClusterInfo, ClusterState } from '../../protocol/launcher.ts';
import { isAlive } from '../actions.ts';
import type { ClusterActions } from '../actions.ts';
import { DRAG_THRESHOLD } from '../drag.ts';

interface CardProps {
  cluster: ClusterInfo;
  active: boolean;
  now: number;
  actions: ClusterActions;
  words: Words;
  /** Begins a drag of this card. */
  drag: (cluster: ClusterInfo, at: { clientX: number; clientY: number }) => void;
}

/** The card. */
export function ClusterCard(props: CardProps): ReactElement {
  const { cluster, active, now, actions, words } = props;
  const press = useDrag(at => props.drag(cluster, at));
  const alive = isAlive(cluster);
  const choose = (): void => {
    if (alive && !active) void actions.activate(cluster);
  };
  const onKeyDown = (event: KeyboardEvent): void => {
    if (event.target !== event.currentTarget) return;
    if (event.key !== 'Enter' && event.key !== ' ') return;
    event.preventDefault();
    choose();
  };
  return (
    <li
      className={`tl-card tl-card-${cluster.state}${active ? ' tl-card-active' : ''}`}
      data-tl-cluster={cluster.id}
      aria-current={active ? 'true' : undefined}
      aria-label={words.__('Cluster %1, %2', cluster.name, stateWord(cluster.state, words))}
      tabIndex={0}
      title={
        alive ? words.__('Click: panels follow this cluster. Drag: connect a notebook.') : undefined
      }
      onClick={choose}
      onKeyDown={onKeyDown}
      {...(alive ? press : {})}
    >
      <div className="tl-card-head">
        <span className={`tl-dot tl-dot-${shapeOf(cluster.state)}`} aria-hidden="true" />
        <strong className="tl-card-name">{cluster.name}</strong>
        <span className="tl-chip">{cluster.kind}</span>
        <span className="tl-card-age" title={new Date(cluster.startedAt).toLocaleString()}>
          {formatAge(now - cluster.startedAt)}
        </span>
      </div>
      <div className="tl-card-facts">{factsOf(cluster, words)}</div>
      {alive ? <Memory cluster={cluster} words={words} /> : null}
      {cluster.reason === null ? null : (
        <div className={`tl-card-reason ${reasonClass(cluster)}`}>{cluster.reason}</div>
      )}
      <Actions {...props} alive={alive} />
    </li>
  );
}

/** A warning while it lives, an error when it failed, a remark when it ended in order. */
function reasonClass(cluster: ClusterInfo): string {
  if (cluster.state === 'failed') return 'tl-error-text';
  return cluster.state === 'ended' ? 'tl-muted' : 'tl-warn-text';
}

function Actions(props: CardProps & { alive: boolean }): ReactElement {
  const { cluster, actions, words } = props;
  const button = (label: string, kind: string, title: string, run: () => unknown): ReactElement => (
    <button
      key={kind}
      type="button"
      className={`tl-link tl-action-${kind}`}
      title={title}
      aria-label={`${title}: ${cluster.name}`}
      onClick={event => {
        event.stopPropagation();
        void run();
      }}
    >
      {label}
    </button>
  );
  const logs = button(words.__('Logs'), 'logs', words.__('Show logs'), () => actions.logs(cluster));
  if (!props.alive) {
    return (
      <div className="tl-card-actions">
        {logs}
        {button(words.__('Forget'), 'forget', words.__('Remove from this list'), () =>
          actions.forget(cluster)
        )}
      </div>
    );
  }
  const { can } = cluster;
  return (
    <div className="tl-card-actions">
      {button(words.__('Connect'), 'connect', words.__('Insert the connecting cell'), () =>
        actions.connect(cluster)
      )}
      {can.scale
        ? button(words.__('Scale…'), 'scale', words.__('Change the number of workers'), () =>
            actions.scale(cluster)
          )
        : null}
      {logs}
      {can.restart
        ? button(words.__('Restart'), 'restart', words.__('Restart workers'), () =>
            actions.restartWorkers(cluster)
          )
        : null}
      {can.stop
        ? button(words.__('Stop'), 'stop', words.__('Stop the cluster'), () =>
            actions.stop(cluster)
          )
        : null}
    </div>
  );
}

function Memory({ cluster, words }: { cluster: ClusterInfo; words: Words }): ReactElement | null {
  const { used, limit } = cluster.memory;
  if (used <= 0) return null;
  const share = limit > 0 ? Math.min(100, (100 * used) / limit) : 0;
  const text =
    limit > 0
      ? words.__('%1 of %2', formatBytes(used), formatBytes(limit))
      : words.__('%1 in use', formatBytes(used));
  return (
    <div className="tl-card-memory">
      {limit > 0 ? (
        <span
          className={`tl-memory${share > 80 ? ' tl-memory-full' : ''}`}
          role="meter"
          aria-label={words.__('memory')}
          aria-valuemin={0}
          aria-valuemax={100}
          aria-valuenow={Math.round(share)}
          aria-valuetext={text}
        >
          <i className="tl-memory-managed" style={{ width: `${share.toFixed(1)}%` }} />
        </span>
      ) : null}
      <span className="tl-muted">{text}</span>
    </div>
  );
}

function factsOf(cluster: ClusterInfo, words: Words): string {
  const { running, starting, pending } = cluster.workers;
  const wanted = running + starting + pending;
  const parts: string[] = [];
  if (cluster.state !== 'running') parts.push(stateWord(cluster.state, words));
  if (isAlive(cluster)) {
    parts.push(
      wanted > running
        ? words.__('%1 of %2 workers', running, wanted)
        : plural(running, words.__('worker'), words.__('workers'))
    );
    if (starting > 0) parts.push(words.__('%1 starting', starting));
    if (pending > 0) parts.push(words.__('%1 pending', pending));
    parts.push(plural(cluster.threads, words.__('thread'), words.__('threads')));
  }
  parts.push(madeBy(cluster, words));
  return parts.join(' · ');
}

function madeBy(cluster: ClusterInfo, words: Words): string {
  const { kind, label } = cluster.madeBy;
  switch (kind) {
    case 'sidebar':
      return words.__('made here');
    case 'cli':
      return words.__('made by command line');
    default:
      return words.__('made by %1', label === '' ? kind : label);
  }
}

/** The word for a state. */
export function stateWord(state: ClusterState, words: Words): string {
  switch (state) {
    case 'starting':
      return words.__('starting');
    case 'running':
      return words.__('running');
    case 'closing':
      return words.__('stopping');
    case 'ended':
      return words.__('ended');
    case 'failed':
      return words.__('failed');
    default:
      return state;
  }
}

function shapeOf(state: ClusterState): string {
  if (state === 'running') return 'running';
  return state === 'starting' || state === 'closing' ? 'starting' : state;
}

/**
 * A press handler that begins a drag when the pointer moves far enough while pressed. It listens
 * on the document, for a quick hand has left the element before its first move event.
 */
export function useDrag(begin: (at: { clientX: number; clientY: number }) => void): {
  onPointerDown: (event: PointerEvent) => void;
} {
  return {
    onPointerDown: event => {
      const inButton = event.target instanceof Element && event.target.closest('button') !== null;
      if (event.button !== 0 || inButton) return;
      const from = { x: event.clientX, y: event.clientY };
      const over = new AbortController();
      const move = (moved: globalThis.PointerEvent): void => {
        if (Math.hypot(moved.clientX - from.x, moved.clientY - from.y) < DRAG_THRESHOLD) return;
        over.abort();
        begin({ clientX: moved.clientX, clientY: moved.clientY });
      };
      const options = { signal: over.signal, capture: true };
      document.addEventListener('pointermove', move, options);
      document.addEventListener('pointerup', () => over.abort(), options);
      document.addEventListener('pointercancel', () => over.abort(), options);
    }
  };
}
