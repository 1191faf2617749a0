import type { Random } from '../random.js';
import { withArticle } from './language.js';
import { paraphrased } from './paraphrase.js';
import { dayPlots } from './plots-days.js';
import { homePlots } from './plots-home.js';
import { thingPlots } from './plots-things.js';
import { drawScene, type Plot, type Scene, type Wish } from './scene.js';

export const plots: readonly Plot[] = [...thingPlots, ...dayPlots, ...homePlots];

export interface Story {
  readonly text: string;
  /** What it is about: decides whether it is held out. */
  readonly choices: string;
  readonly scene: Scene;
  readonly plot: string;
}

/** Draws a story that keeps to the wish. */
export function drawStory(random: Random, wish: Wish = {}): Story {
  for (;;) {
    const plot = random.pick(plots);
    const scene = drawScene(random, wish);
    if (!plot.suits(scene)) continue;
    const { hero, friend, place, item } = scene;
    const choices = [plot.name, hero.name, friend.name, place.name, item.words].join(' / ');
    const sentences = [...introduction(scene, plot), ...plot.tell(scene)];
    if (random.chance(0.3)) sentences.push('The end.');
    return { text: paraphrased(sentences.join(' '), random), choices, scene, plot: plot.name };
  }
}

const characteristics = ['little', 'kind', 'curious', 'clever', 'cheerful', 'friendly', 'young'] as const;

function introduction({ hero: h, friend: f, random }: Scene, plot: Plot): string[] {
  const like = random.pick(characteristics);
  const who = `${withArticle(like)} ${h.kind} named ${h.name}`;
  const opening = random.pick([
    [`Once upon a time, there was ${who}.`, `${h.He} lived ${h.home}.`],
    [`Once upon a time, ${who} lived ${h.home}.`],
    [`Once upon a time, there was ${who} who lived ${h.home}.`],
    [`${h.name} was ${withArticle(like)} ${h.kind} who lived ${h.home}.`],
    [`There once was ${who}.`, `${h.name} lived ${h.home}.`],
  ]);
  const more = [
    `${h.He} loved to ${h.joy}.`,
    `${h.He} always wore ${h.aGarment}.`,
    `${h.His} best friend was ${h.friend}.`,
    `${h.He} liked to eat ${h.food}.`,
  ];
  const extra = random.chance(0.6)
    ? [random.pick(more.filter((s) => !s.includes('best friend') || h.friend !== f.name))]
    : [];
  return [...opening, ...extra, ...weatherOf(plot, random)];
}

function weatherOf({ weather }: Plot, random: Random): string[] {
  switch (weather) {
    case 'windy':
      return [random.pick(['It was a windy day.', 'One autumn day, the wind blew hard.'])];
    case 'cold':
      return [random.pick(['It was winter, and it was very cold.', 'One cold night, snow began to fall.'])];
    case 'sunny':
      return [random.pick(['It was a sunny day.', 'It was warm, and the sky was blue.'])];
    case undefined:
      return [];
    default:
      return weather satisfies never;
  }
}
