/** The versions of all that is connected to this scheduler, and what is said when they differ. */
import { ownVersions } from '../config/runtime.ts';
import { mismatch } from '../protocol/versions.ts';
import type { Member, Versions } from '../protocol/versions.ts';

/** At most so many packages of one member are kept, and of those that a client's user imports. */
const MOST_PACKAGES = 2000;
const MOST_USED = 50;
const LISTS_KEPT = 10;

export class VersionBook {
  private readonly own = ownVersions();
  private readonly members = new Map<object, Member & { role: string }>();
  /** The newest lists of packages: workers of one environment share one. */
  private readonly lists = new Map<string, Record<string, string>>();

  /** Notes who is at the other end of a link; `role` is the message that it registers with. */
  add(link: object, role: string, name: string, versions: Versions | undefined): void {
    const label = role === 'register-client' ? `client ${name}` : name;
    this.members.set(link, { role, who: label.slice(0, 60), versions: this.cleaned(versions) });
  }

  remove(link: object): void {
    this.members.delete(link);
  }

  /** The scheduler first. */
  list(): Member[] {
    const others = [...this.members.values()].map(({ who, versions }) => ({ who, versions }));
    return [{ who: 'scheduler', versions: this.own }, ...others];
  }

  /** The table for a client that connects: all but the other clients. Null when nothing differs. */
  warningFor(link: object): string | null {
    const others = [...this.members].filter(
      ([at, { role }]) => role !== 'register-client' || at === link
    );
    const members = others.map(([, { who, versions }]) => ({ who, versions }));
    return mismatch([{ who: 'scheduler', versions: this.own }, ...members]);
  }

  /** The table of this scheduler and one member. Null when nothing differs. */
  warningOf(link: object): string | null {
    const member = this.members.get(link);
    if (member === undefined) return null;
    return mismatch([{ who: 'scheduler', versions: this.own }, member]);
  }

  /** It came from a peer: nothing but short texts is taken over. */
  private cleaned(versions: Versions | undefined): Versions | null {
    if (typeof versions !== 'object' || versions === null) return null;
    const { packages, uses } = versions;
    return {
      taskloom: text(versions.taskloom),
      protocol: Number(versions.protocol),
      node: text(versions.node),
      platform: text(versions.platform),
      ...(typeof packages === 'object' ? { packages: this.listOf(packages) } : {}),
      ...(Array.isArray(uses) ? { uses: uses.slice(0, MOST_USED).map(text) } : {})
    };
  }

  private listOf(packages: Record<string, unknown>): Record<string, string> {
    const named = Object.entries(packages).slice(0, MOST_PACKAGES);
    const list = Object.fromEntries(named.map(([name, version]) => [text(name), text(version)]));
    const mark = JSON.stringify(list);
    const known = this.lists.get(mark);
    if (known !== undefined) return known;
    const [oldest] = this.lists.keys();
    if (this.lists.size === LISTS_KEPT && oldest !== undefined) this.lists.delete(oldest);
    this.lists.set(mark, list);
    return list;
  }
}

const text = (value: unknown): string => (typeof value === 'string' ? value.slice(0, 60) : '?');
