import type { Random } from '../random.js';
import { item, person, type Item, type Person } from './language.js';
import { characters, colours, places, things, type Place } from './world.js';

/** Everything that a story is about. */
export interface Scene {
  readonly hero: Person;
  readonly friend: Person;
  /** Somebody else who comes along. */
  readonly third: Person;
  readonly place: Place;
  readonly item: Item;
  readonly random: Random;
}

/** What must be so, where it is given. */
export interface Wish {
  readonly hero?: string;
  readonly friend?: string;
  readonly noun?: string;
}

/** Three different characters, a place and a thing. */
export function drawScene(random: Random, wish: Wish = {}): Scene {
  const named = (name: string | undefined, taken: readonly string[]): Person => {
    const free = characters.filter((one) => (name ? one.name === name : !taken.includes(one.name)));
    return person(random.pick(free));
  };
  const wished = [wish.hero ?? '', wish.friend ?? ''];
  const hero = named(wish.hero, wished);
  // Best friends meet more often than others.
  const best = wished.includes(hero.friend) || !random.chance(0.25) ? undefined : hero.friend;
  const friend = named(wish.friend ?? best, [hero.name, ...wished]);
  return {
    hero,
    friend,
    third: named(undefined, [hero.name, friend.name]),
    place: random.pick(places),
    item: item(
      random.pick(things.filter(({ noun }) => (wish.noun ? noun === wish.noun : true))),
      random.pick(colours),
    ),
    random,
  };
}

/** A way for a story to go. Each gives its sentences, paragraphs not included, after the introduction of the hero. */
export interface Plot {
  readonly name: string;
  /** Whether this can happen to them. */
  suits(scene: Scene): boolean;
  /** How the day or the world is at the start; the introduction says so. */
  readonly weather?: 'sunny' | 'windy' | 'cold';
  tell(scene: Scene): string[];
}
