import type { Random } from '../random.js';
import { commonSense, smallTalk } from './facts.js';
import { capital, person, withArticle, type Person } from './language.js';
import { drawStory } from './story.js';
import { characters, colours, places, things } from './world.js';

export interface Turn {
  readonly role: 'user' | 'assistant';
  readonly content: string;
}

export interface Chat {
  readonly turns: readonly Turn[];
  /** What it is about: decides whether it is held out. */
  readonly choices: string;
}

interface Exchange {
  readonly question: string;
  readonly answer: string;
  readonly choices: string;
}

/** Draws a chat of one or two exchanges. */
export function drawChat(random: Random): Chat {
  const first = random.chance(0.15) ? talk(random, smallTalk) : drawExchange(random);
  const exchanges = random.chance(0.35) ? [first, drawExchange(random)] : [first];
  return {
    turns: exchanges.flatMap(({ question, answer }): Turn[] => [
      { role: 'user', content: question },
      { role: 'assistant', content: answer },
    ]),
    choices: exchanges.map(({ choices }) => choices).join(' + '),
  };
}

function drawExchange(random: Random): Exchange {
  return random.pick([storyWish, storyWish, fact, fact, fact, reading, reading, reading, sense])(random);
}

function sense(random: Random): Exchange {
  return talk(random, random.chance(0.7) ? commonSense : smallTalk);
}

function talk(random: Random, table: typeof smallTalk): Exchange {
  const [questions, answer] = random.pick(table);
  const question = random.pick(questions);
  return { question, answer, choices: question };
}

/** "Tell me a story about ..." */
function storyWish(random: Random): Exchange {
  const { text, scene, choices, plot } = drawStory(random);
  const { hero, friend, item } = scene;
  const isAboutItem = text.includes(item.words);
  const subjects = [
    hero.name,
    hero.full,
    `${hero.name} and ${friend.name}`,
    withArticle(hero.kind),
    ...(isAboutItem ? [`${hero.name} and ${item.a}`, item.a] : []),
    ...(plot === 'snow'
      ? ['a snowman']
      : plot === 'race'
        ? ['a race']
        : plot === 'birthday'
          ? ['a birthday']
          : []),
  ];
  const request = random.pick([
    'Tell me a story about',
    'Please tell me a story about',
    'I want to hear a story about',
    'Can you tell me a story about',
  ]);
  const end = request.startsWith('Can') ? '?' : '.';
  const isOpen = random.chance(0.15);
  const question = isOpen
    ? random.pick(['Tell me a story.', 'Please tell me a story.', 'Can you tell me a story?'])
    : `${request} ${random.pick(subjects)}${end}`;
  return { question, answer: text, choices };
}

/** A question about what holds in all stories. */
function fact(random: Random): Exchange {
  const one = person(random.pick(characters));
  const [questions, answer] = random.pick(factsOf(one));
  const question = random.pick(questions);
  // By question: each fact is taught in some words, and only asked for in others.
  return { question, answer, choices: question };
}

function factsOf(one: Person): (readonly [readonly string[], string])[] {
  const { name, full } = one;
  return [
    [
      [`Where does ${name} live?`, `Where is the home of ${full}?`, `Do you know where ${name} lives?`],
      `${capital(full)} lives ${one.home}.`,
    ],
    [[`Who lives ${one.home}?`, `Tell me who lives ${one.home}.`], `${full} lives ${one.home}.`],
    [
      [
        `What does ${name} like to eat?`,
        `What is the favorite food of ${full}?`,
        `What should I cook for ${name}?`,
      ],
      `${name} likes to eat ${one.food}.`,
    ],
    [[`Who likes to eat ${one.food}?`], `${full} likes to eat ${one.food}.`],
    [[`What does ${name} love to do?`, `What makes ${full} happy?`], `${name} loves to ${one.joy}.`],
    [[`Who loves to ${one.joy}?`], `${full} loves to ${one.joy}.`],
    [
      [`Who is the best friend of ${name}?`, `Who is ${name}'s best friend?`],
      `${one.His} best friend is ${one.friend}.`,
    ],
    [
      [`What does ${name} wear?`, `What does ${full} always wear?`],
      `${one.He} always wears ${one.aGarment}.`,
    ],
    [
      [`Who is ${name}?`, `Do you know ${name}?`, `Tell me about ${name}.`],
      `${name} is ${withArticle(one.kind)}. ${one.He} lives ${one.home} and loves to ${one.joy}.`,
    ],
  ];
}

/** A few sentences with something to find in them. */
function reading(random: Random): Exchange {
  const [first, second] = random.shuffle(characters);
  if (!first || !second) throw new RangeError('two characters are needed');
  const a = person(first);
  const b = person(second);
  const place = random.pick(places);
  const other = random.pick(places.filter((one) => one !== place));
  const { noun, isPlural } = random.pick(things);
  const colour = random.pick(colours);
  const spot = random.pick(place.spots);
  const extra = random.pick(things.filter((one) => one.noun !== noun && !one.isPlural)).noun;
  const words = `${colour} ${noun}`;
  const is = isPlural ? 'are' : 'is';
  const owned = isPlural ? `some ${words}` : withArticle(words);
  const [text, question, answer] = random.pick([
    [`${a.name} put the ${words} ${spot}.`, `Where ${is} the ${noun}?`, `The ${noun} ${is} ${spot}.`],
    [`${a.name} has ${owned}. ${b.name} has nothing.`, `Who has the ${noun}?`, `${a.name} has the ${noun}.`],
    [
      `${a.name} had ${owned} and gave ${isPlural ? 'them' : 'it'} to ${b.name}.`,
      `Who has the ${noun} now?`,
      `${b.name} has the ${noun} now.`,
    ],
    [
      `${a.name} found ${owned} ${place.at}.`,
      `Which color ${isPlural ? 'do' : 'does'} the ${noun} have?`,
      `The ${noun} ${is} ${colour}.`,
    ],
    [
      `${a.name} went to ${place.name}, and ${b.name} went to ${other.name}.`,
      `Where is ${b.name}?`,
      `${b.name} is ${other.at}.`,
    ],
    [
      `${a.name} went to ${place.name}, and ${b.name} went to ${other.name}.`,
      `Where is ${a.name}?`,
      `${a.name} is ${place.at}.`,
    ],
    [
      `${a.name} lost the ${words}, and ${b.name} found ${isPlural ? 'them' : 'it'} ${place.at}.`,
      `Who found the ${noun}?`,
      `${b.name} found the ${noun}.`,
    ],
    [
      `${a.name} has ${owned}, and ${b.name} has a ${extra}.`,
      `Who has the ${extra}?`,
      `${b.name} has the ${extra}.`,
    ],
    [
      `${a.name} has ${owned}, and ${b.name} has a ${extra}.`,
      `What does ${a.name} have?`,
      `${a.name} has ${owned}.`,
    ],
    [`${a.name} fell and ${b.name} helped ${a.him}.`, `Who helped?`, `${b.name} helped ${a.name}.`],
  ] as const);
  return { question: `${text} ${question}`, answer, choices: `${text} ${question}` };
}
