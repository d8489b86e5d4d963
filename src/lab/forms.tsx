/** Bodies of the dialogs: a new cluster from its kind's schema, and the number of workers. */
import { ReactWidget } from '@jupyterlab/apputils';
import type { Dialog } from '@jupyterlab/apputils';
import type { PartialJSONObject, ReadonlyPartialJSONObject } from '@lumino/coreutils';
import type { ReactElement } from 'react';

import type { Words } from '../panels/view/words.ts';
import type { ClusterKind } from '../protocol/launcher.ts';
import { fieldsOf, valueOf } from './schema-form.ts';
import type { Field } from './schema-form.ts';

/** The form of a new cluster. */
export class NewClusterForm
  extends ReactWidget
  implements Dialog.IBodyWidget<ReadonlyPartialJSONObject>
{
  readonly #kinds: readonly ClusterKind[];
  readonly #known: ReadonlyPartialJSONObject;
  readonly #words: Words;
  #kind: string;

  constructor(kinds: readonly ClusterKind[], known: ReadonlyPartialJSONObject, words: Words) {
    super();
    this.addClass('tl-root');
    this.addClass('tl-form');
    this.#kinds = kinds;
    this.#known = known;
    this.#words = words;
    const last = kinds.find(kind => kind.kind === known['kind']);
    this.#kind = (last ?? kinds[0])?.kind ?? 'local';
  }

  getValue(): ReadonlyPartialJSONObject {
    const values: PartialJSONObject = { kind: this.#kind };
    for (const field of this.#fields()) {
      const input = this.node.querySelector<HTMLInputElement>(`[name="${field.name}"]`);
      if (input === null) continue;
      const value = valueOf(field, field.type === 'boolean' ? input.checked : input.value);
      if (value !== undefined) values[field.name] = value as PartialJSONObject[string];
    }
    return values;
  }

  protected override render(): ReactElement {
    const kind = this.#kinds.find(each => each.kind === this.#kind);
    return (
      <>
        {this.#kinds.length > 1 ? this.#chooser() : null}
        {kind === undefined ? null : <p className="tl-muted">{kind.description}</p>}
        {this.#fields().map(field => (
          <FieldRow key={`${this.#kind}.${field.name}`} field={field} />
        ))}
      </>
    );
  }

  #fields(): Field[] {
    const kind = this.#kinds.find(each => each.kind === this.#kind);
    return kind === undefined ? [] : fieldsOf(kind.schema, this.#known);
  }

  #chooser(): ReactElement {
    return (
      <label className="tl-field">
        <span>{this.#words.__('Kind')}</span>
        <select
          name="kind"
          className="jp-mod-styled"
          defaultValue={this.#kind}
          onChange={event => {
            this.#kind = event.target.value;
            this.update();
          }}
        >
          {this.#kinds.map(kind => (
            <option key={kind.kind} value={kind.kind}>
              {kind.title}
            </option>
          ))}
        </select>
      </label>
    );
  }
}

function FieldRow({ field }: { field: Field }): ReactElement {
  return (
    <label className="tl-field" title={field.description}>
      <span>{field.title}</span>
      <FieldInput field={field} />
      {field.description === '' ? null : <small className="tl-muted">{field.description}</small>}
    </label>
  );
}

function FieldInput({ field }: { field: Field }): ReactElement {
  if (field.type === 'boolean') {
    return <input type="checkbox" name={field.name} defaultChecked={field.value === true} />;
  }
  const value = String(field.value);
  if (field.type === 'choice') {
    return (
      <select name={field.name} className="jp-mod-styled" defaultValue={value}>
        {field.choices.map(choice => (
          <option key={choice}>{choice}</option>
        ))}
      </select>
    );
  }
  return (
    <input
      name={field.name}
      className="jp-mod-styled"
      type={field.type === 'text' ? 'text' : 'number'}
      step={field.type === 'integer' ? 1 : 'any'}
      min={field.minimum}
      max={field.maximum}
      placeholder={field.placeholder}
      defaultValue={value}
    />
  );
}

/** How many workers there shall be. */
export class ScaleForm extends ReactWidget implements Dialog.IBodyWidget<number> {
  readonly #now: number;
  readonly #words: Words;

  constructor(now: number, words: Words) {
    super();
    this.addClass('tl-root');
    this.addClass('tl-form');
    this.#now = now;
    this.#words = words;
  }

  getValue(): number {
    const input = this.node.querySelector<HTMLInputElement>('input');
    return input === null ? NaN : input.valueAsNumber;
  }

  protected override render(): ReactElement {
    return (
      <label className="tl-field">
        <span>{this.#words.__('Workers')}</span>
        <input
          name="workers"
          className="jp-mod-styled"
          type="number"
          min={0}
          step={1}
          required
          defaultValue={this.#now}
        />
        <small className="tl-muted">{this.#words.__('%1 now', this.#now)}</small>
      </label>
    );
  }
}
