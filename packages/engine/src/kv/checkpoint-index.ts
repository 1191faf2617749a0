import { ButterflyError } from '@butterfly/common';
import type { Prefixes, PrefixMatch } from './prefixes.js';
import type { StateSlots } from './state-slots.js';
import { type BlockHash, chainedHash, type TokenReader } from './token-hash.js';

/** The state behind the first `position` tokens of all of its owners, which have these tokens cached too. */
interface Checkpoint {
  readonly position: number;
  readonly slot: number;
  readonly hash: number;
  /** In the order in which they came to it; never empty. */
  readonly owners: Set<Owner>;
}

interface Owner {
  readonly id: number;
  readonly tokens: TokenReader;
  /** By position, ascending. */
  checkpoints: Checkpoint[];
}

/**
 * Finds the checkpoint from which a request can go on, where layers keep states: these exist only where a step ended, so a
 * cached prefix is of use only up to a checkpoint, which is the state in its slot and the rows of the prefix in a region of
 * the arena. Regions with equal tokens share it. It uses its slot until its last owner is gone, or until it is dropped.
 *
 * Each request is hashed once up to the last position that any checkpoint has, and compared token by token with what is
 * found. There are no more checkpoints than slots.
 */
export class CheckpointIndex implements Prefixes {
  readonly #owners = new Map<number, Owner>();
  /** The one that was used longest ago first. */
  readonly #checkpoints = new Set<Checkpoint>();
  readonly #byPosition = new Map<number, Set<Checkpoint>>();

  /** Checkpoints before `blockTokens` tokens are not kept. Tests force collisions by a `hash` of their own. */
  constructor(
    private readonly slots: StateSlots,
    private readonly blockTokens: number,
    private readonly hash: BlockHash = chainedHash,
  ) {}

  get size(): number {
    return this.#checkpoints.size;
  }

  longest(tokens: TokenReader, lengthMax: number): PrefixMatch | null {
    const checkpoint = this.#find(tokens, lengthMax);
    if (checkpoint === null) return null;
    // Whoever ends with it is best gone on from: nothing that comes behind has to be spared.
    let id: number | null = null;
    for (const owner of checkpoint.owners)
      if (id === null || owner.checkpoints.at(-1) === checkpoint) id = owner.id;
    return id === null ? null : { id, tokens: checkpoint.position };
  }

  /** A new owner of tokens that others have cached too shares the checkpoints in them. */
  set(id: number, tokens: TokenReader, length: number): void {
    const owner = this.#owners.get(id);
    if (owner?.tokens === tokens) {
      this.#truncate(owner, length);
      return;
    }
    const next: Owner = { id, tokens, checkpoints: [] };
    const found = this.#find(tokens, length);
    const [model] = found?.owners ?? [];
    for (const checkpoint of model?.checkpoints ?? [])
      if (found && checkpoint.position <= found.position) this.#give(checkpoint, next);
    // What leads up to it is not used now: else a long chat would outlive all others.
    if (found) this.#touch(found);
    this.delete(id);
    this.#owners.set(id, next);
  }

  delete(id: number): void {
    const owner = this.#owners.get(id);
    if (owner === undefined) return;
    this.#truncate(owner, 0);
    this.#owners.delete(id);
  }

  sharing(tokens: TokenReader): readonly number[] {
    const owners = [...this.#owners.values()];
    return owners
      .filter((owner) => owner.checkpoints.length > 0 && isEqual(owner.tokens, tokens, this.blockTokens))
      .map(({ id }) => id);
  }

  worthKeeping(id: number, length: number): number {
    return this.#owners.get(id)?.checkpoints.findLast(({ position }) => position <= length)?.position ?? 0;
  }

  /** The slot of an owner's checkpoint. */
  slotAt(id: number, position: number): number {
    const found = this.#ownerOf(id).checkpoints.find((checkpoint) => checkpoint.position === position);
    if (found === undefined) throw defect(`owner ${id} has none at ${position}`);
    return found.slot;
  }

  /**
   * Keeps the state behind the first `position` tokens of an owner that lies in `slot`, or the one behind equal tokens that
   * is kept already.
   */
  keep(id: number, position: number, slot: number): void {
    if (position < this.blockTokens) return;
    const owner = this.#ownerOf(id);
    if (position > owner.tokens.length) throw defect(`owner ${id} has no ${position} tokens`);
    if (owner.checkpoints.some((each) => each.position === position)) return;
    const hash = this.#hashes(owner.tokens, [position])[0] ?? 0;
    const others = this.#byPosition.get(position) ?? new Set<Checkpoint>();
    const equal = [...others].find((each) => this.#isBehind(each, owner.tokens, hash));
    const checkpoint = equal ?? { position, slot, hash, owners: new Set<Owner>() };
    if (!equal) {
      this.slots.use(slot);
      this.#byPosition.set(position, others.add(checkpoint));
    }
    this.#give(checkpoint, owner);
    this.#touch(checkpoint);
  }

  /**
   * Drops the one that was used longest ago, by default of those whose slot nobody else uses. Gives its owners; null without
   * any.
   */
  dropOldest(which: 'alone' | 'alsoShared' = 'alone'): readonly number[] | null {
    for (const checkpoint of this.#checkpoints) {
      if (which === 'alone' && this.slots.isShared(checkpoint.slot)) continue;
      const ids = [...checkpoint.owners].map(({ id }) => id);
      this.#drop(checkpoint);
      return ids;
    }
    return null;
  }

  /** Drops all checkpoints behind tokens that begin as these do. */
  distrust(tokens: TokenReader): void {
    for (const id of this.sharing(tokens))
      for (const checkpoint of [...this.#ownerOf(id).checkpoints]) this.#drop(checkpoint);
  }

  /** The last checkpoint behind some of the first tokens. */
  #find(tokens: TokenReader, lengthMax: number): Checkpoint | null {
    const length = Math.min(lengthMax, tokens.length);
    const positions = [...this.#byPosition.keys()].filter((position) => position <= length);
    positions.sort((a, b) => a - b);
    const hashes = this.#hashes(tokens, positions);
    for (let index = positions.length - 1; index >= 0; index -= 1)
      for (const checkpoint of this.#byPosition.get(positions[index] ?? 0) ?? [])
        if (this.#isBehind(checkpoint, tokens, hashes[index] ?? 0)) return checkpoint;
    return null;
  }

  /** Hashes of the tokens before each position, ascending: of whole blocks, and of what is left. */
  #hashes(tokens: TokenReader, positions: readonly number[]): number[] {
    let [hash, end] = [0, 0];
    return positions.map((position) => {
      for (; end + this.blockTokens <= position; end += this.blockTokens)
        hash = this.hash(hash, tokens, end, end + this.blockTokens);
      return this.hash(hash, tokens, end, position);
    });
  }

  #isBehind(checkpoint: Checkpoint, tokens: TokenReader, hash: number): boolean {
    const [owner] = checkpoint.owners;
    return checkpoint.hash === hash && !!owner && isEqual(owner.tokens, tokens, checkpoint.position);
  }

  #give(checkpoint: Checkpoint, owner: Owner): void {
    checkpoint.owners.add(owner);
    owner.checkpoints.push(checkpoint);
    owner.checkpoints.sort((a, b) => a.position - b.position);
  }

  /** Makes it the last to go. */
  #touch(checkpoint: Checkpoint): void {
    this.#checkpoints.delete(checkpoint);
    this.#checkpoints.add(checkpoint);
  }

  #truncate(owner: Owner, length: number): void {
    if ((owner.checkpoints.at(-1)?.position ?? 0) <= length) return;
    const gone = owner.checkpoints.filter(({ position }) => position > length);
    owner.checkpoints = owner.checkpoints.filter(({ position }) => position <= length);
    for (const checkpoint of gone) {
      checkpoint.owners.delete(owner);
      if (checkpoint.owners.size === 0) this.#drop(checkpoint);
    }
  }

  #drop(checkpoint: Checkpoint): void {
    for (const owner of checkpoint.owners)
      owner.checkpoints = owner.checkpoints.filter((each) => each !== checkpoint);
    this.#checkpoints.delete(checkpoint);
    const others = this.#byPosition.get(checkpoint.position);
    others?.delete(checkpoint);
    if (others?.size === 0) this.#byPosition.delete(checkpoint.position);
    this.slots.leave(checkpoint.slot);
  }

  #ownerOf(id: number): Owner {
    const owner = this.#owners.get(id);
    if (owner === undefined) throw defect(`owner ${id} is unknown`);
    return owner;
  }
}

/** Whether both have the same first `length` tokens. */
function isEqual(a: TokenReader, b: TokenReader, length: number): boolean {
  if (a.length < length || b.length < length) return false;
  for (let index = 0; index < length; index += 1) if (a.at(index) !== b.at(index)) return false;
  return true;
}

function defect(message: string): ButterflyError {
  return new ButterflyError('INTERNAL', `Checkpoints: ${message}; this is a defect, please report it.`);
}
