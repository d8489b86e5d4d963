/** Logs of a cluster in the main area: one block a process, newest lines last, fetched when asked. */
import { MainAreaWidget, ReactWidget } from '@jupyterlab/apputils';
import { useCallback, useEffect, useState } from 'react';
import type { ReactElement } from 'react';

import type { Words } from '../panels/view/words.ts';
import type { ClusterInfo, ClusterLogs } from '../protocol/launcher.ts';
import { taskloomIcon } from './icon.ts';
import type { ITaskloomClusters } from './tokens.ts';

interface LogsProps {
  cluster: ClusterInfo;
  clusters: ITaskloomClusters;
  words: Words;
}

/** A widget with the logs of a cluster. */
export function logsWidget(props: LogsProps): MainAreaWidget {
  const content = ReactWidget.create(<Logs {...props} />);
  content.addClass('tl-root');
  content.addClass('tl-logs-host');
  const widget = new MainAreaWidget({ content });
  widget.id = `taskloom-logs-${props.cluster.id}`;
  widget.toolbar.hide();
  widget.title.label = props.words.__('Logs: %1', props.cluster.name);
  widget.title.icon = taskloomIcon;
  widget.title.closable = true;
  return widget;
}

function Logs({ cluster, clusters, words }: LogsProps): ReactElement {
  const [logs, setLogs] = useState<ClusterLogs | null>(null);
  const [problem, setProblem] = useState<string | null>(null);
  const fetchLogs = useCallback((): void => {
    clusters.logs(cluster.id).then(
      got => {
        setLogs(got);
        setProblem(null);
      },
      (error: unknown) => setProblem(error instanceof Error ? error.message : String(error))
    );
  }, [cluster.id, clusters]);
  useEffect(fetchLogs, [fetchLogs]);
  return (
    <section className="tl-logs" aria-label={words.__('Logs of %1', cluster.name)}>
      <header className="tl-panel-header">
        <strong>{cluster.name}</strong>
        <span className="tl-panel-controls">
          <button type="button" className="tl-link" onClick={fetchLogs}>
            {words.__('Refresh')}
          </button>
        </span>
      </header>
      {problem === null ? null : <p className="tl-notice">{problem}</p>}
      {logs?.logs.length === 0 ? (
        <p className="tl-muted tl-pad">{words.__('No log lines yet.')}</p>
      ) : null}
      {logs?.logs.map(log => (
        <details key={log.source} open>
          <summary>{log.source}</summary>
          <pre tabIndex={0}>{log.lines.join('\n')}</pre>
        </details>
      ))}
    </section>
  );
}
