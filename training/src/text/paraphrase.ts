import type { Random } from '../random.js';

/** Words that may take each other's place wherever a story has the first of them. */
const alternatives: readonly (readonly [string, ...string[]])[] = [
  ['One day,', 'One fine day,', 'One afternoon,', 'One day after breakfast,'],
  ['One morning,', 'Early one morning,', 'One bright morning,'],
  ['Suddenly,', 'All of a sudden,', 'Then, suddenly,'],
  ['Soon ', 'A little later, ', 'Before long, '],
  ['very sad', 'so sad', 'quite unhappy'],
  ['began to cry', 'started to cry', 'cried a little'],
  ['came by.', 'came along.', 'walked by and stopped.', 'saw this and came over.'],
  ['a lot of fun', 'so much fun', 'a great time'],
  ['for a long time', 'all afternoon', 'for hours'],
  ['They looked everywhere, and', 'They searched and searched, and', 'They looked high and low, and'],
  ['was so happy', 'was so glad', 'was very happy'],
  ['took good care of', 'was careful with', 'looked well after'],
  ['played together', 'played happily', 'laughed and played'],
  ['until the sun went down', 'until it got dark', 'until the evening came'],
  ['a big ', 'a large ', 'a huge '],
  ['shouted', 'yelled', 'called'],
  ['was proud of it', 'liked to show it', 'told everybody about it'],
  ['walked slowly', 'was careful', 'looked where to step'],
  ['liked very much', 'loved'],
  ['could not sleep', 'was still awake', 'could not fall asleep'],
  ['baked together', 'mixed the dough together', 'baked side by side'],
  ['smelled sweet', 'smelled wonderful', 'smelled of fresh cake'],
  ['were full and happy', 'were happy and full', 'felt full and happy'],
  ['a soft cry', 'a quiet voice', 'somebody cry softly'],
  ['They danced and sang', 'They sang and laughed', 'Everybody danced'],
  ['and helped', 'and quickly helped', 'and gently helped'],
  [
    'It was much more fun to share.',
    'Sharing made both of them happy.',
    'After that, they never fought again.',
  ],
];

const replacements = alternatives.map((group) => ({ pattern: new RegExp(escaped(group[0]), 'gu'), group }));

/** The same story in other words. */
export function paraphrased(text: string, random: Random): string {
  return replacements.reduce(
    (current, { pattern, group }) => current.replace(pattern, () => random.pick(group)),
    text,
  );
}

function escaped(text: string): string {
  return text.replace(/[.*+?^${}()|[\]\\]/gu, '\\$&');
}
