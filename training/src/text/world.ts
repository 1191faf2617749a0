/** Ways to get at what others cannot reach. */
export type Skill = 'climb' | 'fly' | 'reach' | 'swim' | 'dig' | 'mend' | 'lead';

/** Somebody of the world. What is said here holds in every story and every answer. */
export interface Character {
  readonly name: string;
  readonly kind: string;
  readonly isFemale: boolean;
  /** Continues "lives". */
  readonly home: string;
  readonly food: string;
  /** Continues "loves to". */
  readonly joy: string;
  readonly garment: string;
  readonly friend: string;
  readonly skills: readonly Skill[];
}

const character = (
  [name, kind, sex]: readonly [string, string, 'she' | 'he'],
  home: string,
  food: string,
  joy: string,
  garment: string,
  friend: string,
  ...skills: readonly Skill[]
): Character => ({ name, kind, isFemale: sex === 'she', home, food, joy, garment, friend, skills });

export const characters: readonly Character[] = [
  character(
    ['Mia', 'girl', 'she'],
    'in the house by the mill',
    'apple pie',
    'paint',
    'red coat',
    'Tom',
    'mend',
  ),
  character(
    ['Tom', 'boy', 'he'],
    'in the house on the hill',
    'bread and honey',
    'climb trees',
    'blue cap',
    'Mia',
    'climb',
  ),
  character(
    ['Anna', 'girl', 'she'],
    'above the bakery',
    'plum cake',
    'bake',
    'white apron',
    'Ben',
    'mend',
    'lead',
  ),
  character(
    ['Ben', 'boy', 'he'],
    'in the cottage by the lake',
    'fish soup',
    'sail',
    'green jacket',
    'Anna',
    'swim',
  ),
  character(
    ['Lily', 'girl', 'she'],
    'behind the school',
    'strawberries',
    'sing',
    'yellow dress',
    'Max',
    'climb',
  ),
  character(['Max', 'boy', 'he'], 'next to the market', 'pancakes', 'run', 'orange shirt', 'Lily', 'mend'),
  character(
    ['Finn', 'fox', 'he'],
    'in a den under the old oak',
    'blueberries',
    'tell jokes',
    'purple scarf',
    'Rosa',
    'lead',
    'dig',
  ),
  character(
    ['Rosa', 'rabbit', 'she'],
    'in a burrow in the meadow',
    'carrots',
    'jump',
    'pink ribbon',
    'Finn',
    'dig',
  ),
  character(
    ['Otto', 'bear', 'he'],
    'in a cave in the forest',
    'honey',
    'sleep',
    'brown vest',
    'Pip',
    'reach',
    'swim',
  ),
  character(
    ['Pip', 'mouse', 'she'],
    'in a hole behind the stove',
    'cheese',
    'dance',
    'tiny gray cape',
    'Otto',
    'mend',
    'dig',
  ),
  character(
    ['Olive', 'owl', 'she'],
    'in a hollow tree',
    'nuts',
    'read',
    'golden glasses',
    'Hugo',
    'fly',
    'lead',
  ),
  character(
    ['Hugo', 'hedgehog', 'he'],
    'under the garden hedge',
    'mushrooms',
    'collect leaves',
    'black boots',
    'Olive',
    'mend',
  ),
  character(
    ['Dora', 'duck', 'she'],
    'in the reeds at the pond',
    'corn',
    'swim',
    'blue bonnet',
    'Felix',
    'swim',
    'fly',
  ),
  character(
    ['Felix', 'frog', 'he'],
    'on a big leaf in the pond',
    'noodle soup',
    'whistle',
    'silver crown',
    'Dora',
    'swim',
  ),
  character(
    ['Bella', 'cat', 'she'],
    'in the barn',
    'fish cakes',
    'sit in the sun',
    'red collar',
    'Rufus',
    'climb',
  ),
  character(
    ['Rufus', 'dog', 'he'],
    'at the farm',
    'sausages',
    'dig holes',
    'green collar',
    'Bella',
    'dig',
    'swim',
    'lead',
  ),
];

/** "girl" for Mia, "fox" for Finn: children are no animals. */
export function isChild({ kind }: Character): boolean {
  return kind === 'girl' || kind === 'boy';
}

export interface Place {
  /** As in "went to the park". */
  readonly name: string;
  /** As in "played in the park". */
  readonly at: string;
  /** Where something may lie or hide. */
  readonly spots: readonly string[];
}

export const places: readonly Place[] = [
  {
    name: 'the park',
    at: 'in the park',
    spots: ['behind a bench', 'under the swing', 'next to the fountain'],
  },
  {
    name: 'the forest',
    at: 'in the forest',
    spots: ['behind a fallen tree', 'under the ferns', 'between two roots'],
  },
  { name: 'the beach', at: 'on the beach', spots: ['behind a rock', 'under a towel', 'next to an old boat'] },
  {
    name: 'the garden',
    at: 'in the garden',
    spots: ['behind the watering can', 'under the rose bush', 'between the cabbages'],
  },
  {
    name: 'the meadow',
    at: 'in the meadow',
    spots: ['behind a tall flower', 'under a pile of hay', 'in the long grass'],
  },
  {
    name: 'the market',
    at: 'at the market',
    spots: ['behind a cart', 'under a table', 'between two baskets'],
  },
  {
    name: 'the farm',
    at: 'at the farm',
    spots: ['behind the barn door', 'under the wagon', 'next to the well'],
  },
  {
    name: 'the hill',
    at: 'on the hill',
    spots: ['behind a big stone', 'under the lonely tree', 'next to the gate'],
  },
  {
    name: 'the river',
    at: 'by the river',
    spots: ['behind the willow', 'under the bridge', 'between the reeds'],
  },
  {
    name: 'the school yard',
    at: 'in the school yard',
    spots: ['behind the slide', 'under the stairs', 'next to the fence'],
  },
];

/** A thing to own, lose, mend and share. */
export interface Thing {
  readonly noun: string;
  readonly isPlural: boolean;
  /** What mends it when it is broken or torn. */
  readonly mending: { readonly tool: string; readonly harm: 'broke' | 'tore' };
  /** What one does with it: continues "wanted to". */
  readonly use: string;
  /** Whether the wind can carry it. */
  readonly isLight: boolean;
}

const thing = (
  noun: string,
  use: string,
  [harm, tool]: readonly ['broke' | 'tore', string],
  ...traits: readonly ('plural' | 'light')[]
): Thing => ({
  noun,
  use,
  mending: { tool, harm },
  isPlural: traits.includes('plural'),
  isLight: traits.includes('light'),
});

export const things: readonly Thing[] = [
  thing('ball', 'play with', ['tore', 'a patch'], 'light'),
  thing('kite', 'fly', ['tore', 'paper and string'], 'light'),
  thing('hat', 'wear', ['tore', 'a needle and thread'], 'light'),
  thing('scarf', 'wear', ['tore', 'a needle and thread'], 'light'),
  thing('toy boat', 'sail', ['broke', 'glue'], 'light'),
  thing('drum', 'play', ['broke', 'glue and a nail']),
  thing('doll', 'play with', ['tore', 'a needle and thread']),
  thing('lantern', 'carry', ['broke', 'a little wire']),
  thing('book', 'read', ['tore', 'paste']),
  thing('basket', 'carry', ['broke', 'some straw']),
  thing('flute', 'play', ['broke', 'a drop of glue']),
  thing('puppet', 'play with', ['broke', 'a piece of string']),
  thing('boots', 'wear', ['tore', 'a strong thread'], 'plural'),
  thing('gloves', 'wear', ['tore', 'a needle and thread'], 'plural', 'light'),
  thing('skates', 'use', ['broke', 'a new screw'], 'plural'),
  thing('paper wings', 'wear', ['tore', 'paste'], 'plural', 'light'),
];

export const colours = ['red', 'blue', 'green', 'yellow', 'white', 'purple', 'orange', 'silver'] as const;
export type Colour = (typeof colours)[number];
