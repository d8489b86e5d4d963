/** The versions of all that is connected to this scheduler, and what is said when they differ. */
import { ownVersions } from '../config/runtime.ts';
import { mismatch } from '../protocol/versions.ts';
import type { Member, Versions } from '../protocol/versions.ts';

export class VersionBook {
  private readonly own = ownVersions();
  private readonly members = new Map<object, Member & { role: string }>();

  /** Notes who is at the other end of a link; `role` is the message that it registers with. */
  add(link: object, role: string, name: string, versions: Versions | undefined): void {
    const label = role === 'register-client' ? `client ${name}` : name;
    this.members.set(link, { role, who: label.slice(0, 60), versions: cleaned(versions) });
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
}

/** It came from a peer: nothing but short texts is taken over. */
function cleaned(versions: Versions | undefined): Versions | null {
  if (typeof versions !== 'object' || versions === null) return null;
  const text = (value: unknown): string => (typeof value === 'string' ? value.slice(0, 40) : '?');
  return {
    taskloom: text(versions.taskloom),
    protocol: Number(versions.protocol),
    node: text(versions.node),
    platform: text(versions.platform),
    ...packagesOf(versions.packages, text)
  };
}

/** At most so many packages of one member are kept. */
const MOST_PACKAGES = 20;

function packagesOf(
  packages: unknown,
  text: (value: unknown) => string
): Pick<Versions, 'packages'> {
  if (typeof packages !== 'object' || packages === null) return {};
  const known = Object.entries(packages).slice(0, MOST_PACKAGES);
  return {
    packages: Object.fromEntries(known.map(([name, version]) => [name.slice(0, 40), text(version)]))
  };
}
