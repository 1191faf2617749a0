import { capital } from './language.js';
import type { Plot } from './scene.js';

const rain: Plot = {
  name: 'rain',
  suits: () => true,
  tell({ hero: h, friend: f, place: p, random }) {
    const hasUmbrella = random.chance(0.5);
    const host = random.chance(0.5) ? h : f;
    const guest = host === h ? f : h;
    return [
      `One day, ${h.name} met ${f.full} ${p.at}, and they played all morning.`,
      random.pick([
        `Then dark clouds came, and it began to rain.`,
        `Suddenly, the sky turned gray and big drops fell.`,
      ]),
      ...(hasUmbrella
        ? [
            `${host.name} had a big umbrella.`,
            `"Come under my umbrella," said ${host.name} to ${guest.name}.`,
            `They walked close together, and so they stayed dry.`,
          ]
        : [
            `They had no umbrella, so they got very wet.`,
            `"Let us run to my home," said ${host.name}.`,
            `${guest.name} was cold, so ${host.name} gave ${guest.him} a warm blanket.`,
          ]),
      `At ${host.name}'s home they ate ${host.food} and listened to the rain.`,
      random.pick([
        `When the rain stopped, they saw a rainbow over ${p.name}.`,
        `Later the sun came out again, and there was a rainbow in the sky.`,
      ]),
      random.pick([
        `"What a lovely day," said ${guest.name}.`,
        `"I like rainy days now," said ${guest.name}.`,
      ]),
    ];
  },
};

const crops = [
  { seed: 'a tiny seed', plant: 'sunflower', end: 'It was so tall that it looked over the fence.' },
  {
    seed: 'a flat white seed',
    plant: 'pumpkin',
    end: 'They made a big pot of pumpkin soup and shared it with everybody.',
  },
  {
    seed: 'a small brown seed',
    plant: 'apple tree',
    end: 'Years later, they sat under it and ate sweet red apples.',
  },
  { seed: 'a black seed', plant: 'melon', end: 'They cut it and everybody got a sweet piece.' },
  { seed: 'a round seed', plant: 'bean plant', end: 'They climbed it and saw the whole village.' },
] as const;

const seed: Plot = {
  name: 'seed',
  suits: () => true,
  tell({ hero: h, friend: f, place: p, random }) {
    const crop = random.pick(crops);
    return [
      `One spring day, ${h.name} found ${crop.seed} ${p.at}.`,
      `"What will it be?" ${h.he} asked ${f.full}.`,
      `"Plant it and wait," said ${f.name}.`,
      `So ${h.name} put the seed into the ground and gave it water every day.`,
      random.pick([
        `After one week, there was still nothing to see, and ${h.he} was sad.`,
        `${h.He} waited and waited, but nothing happened.`,
      ]),
      random.pick([
        `"Be patient," said ${f.name}. "Good things take time."`,
        `"Do not give up," said ${f.name}.`,
      ]),
      `Then one morning, a small green leaf came out of the ground.`,
      `The plant got more sun and more water, and it grew and grew.`,
      `At the end of summer, it was a beautiful ${crop.plant}.`,
      crop.end,
      random.pick([
        `${h.name} was very proud.`,
        `"You were right," said ${h.name} to ${f.name}. "It was good to wait."`,
      ]),
    ];
  },
};

const patients = [
  { who: 'bird', harm: 'a hurt wing', food: 'seeds and water', end: 'flew up into the sky' },
  { who: 'butterfly', harm: 'a wet wing', food: 'sweet water', end: 'flew away over the flowers' },
  { who: 'squirrel', harm: 'a hurt leg', food: 'nuts and water', end: 'ran up a tree' },
  { who: 'turtle', harm: 'a hurt foot', food: 'green leaves', end: 'walked slowly back to the pond' },
] as const;

const care: Plot = {
  name: 'care',
  suits: () => true,
  tell({ hero: h, friend: f, place: p, random }) {
    const patient = random.pick(patients);
    const [spot = ''] = random.shuffle(p.spots);
    return [
      `One day, ${h.name} was ${p.at} and heard a soft cry.`,
      `${capital(spot)} sat a little ${patient.who} with ${patient.harm}.`,
      random.pick([
        `"You poor thing," said ${h.name}.`,
        `"Do not be afraid," said ${h.name}. "I will help you."`,
      ]),
      `${h.He} carried the ${patient.who} home in a soft cloth.`,
      `${f.full} came and brought ${patient.food}.`,
      `Every day, ${h.name} and ${f.name} fed the little ${patient.who} and kept it warm.`,
      random.pick([`After seven days, it was well again.`, `Day by day, it got better.`]),
      `They took it back to ${p.name}, and it ${patient.end}.`,
      random.pick([
        `${h.name} was a little sad, but also very happy.`,
        `${h.name} and ${f.name} waved until they could not see it any more.`,
      ]),
      random.pick([
        `The next spring, the ${patient.who} came back to say hello.`,
        `They never forgot the little ${patient.who}.`,
      ]),
    ];
  },
};

const birthday: Plot = {
  name: 'birthday',
  suits: () => true,
  tell({ hero: h, friend: f, third: t, item: o, place: p, random }) {
    return [
      `Tomorrow was the birthday of ${h.his} friend ${f.full}.`,
      `"What would make ${f.him} happy?" thought ${h.name}.`,
      `${h.He} knew that ${f.name} loved ${f.food}, so ${h.he} made a lot of ${f.food}.`,
      `${t.full} helped ${h.him} and brought ${o.a} as a gift.`,
      `They hid ${p.at} and waited.`,
      random.pick([
        `When ${f.name} came, they all jumped up and shouted, "Happy birthday!"`,
        `${f.name} came along and saw nobody. Then they jumped up and called, "Surprise!"`,
      ]),
      random.pick([
        `${f.name} was so surprised that ${f.he} could not say a word.`,
        `${f.name} laughed and clapped, because ${f.he} was so happy.`,
      ]),
      `${f.He} ate the ${f.food} and ${random.pick(['looked at', 'showed everybody'])} the ${o.words}.`,
      random.pick([
        `"This is my best birthday ever," said ${f.name}.`,
        `"Thank you, ${h.name} and ${t.name}," said ${f.name}.`,
      ]),
      `They danced and sang until the stars came out.`,
    ];
  },
};

const race: Plot = {
  name: 'race',
  weather: 'sunny',
  suits: () => true,
  tell({ hero: h, friend: f, third: t, place: p, random }) {
    const isProud = random.chance(0.5);
    const start = [
      `One day, ${h.name} and ${f.full} had a race to ${p.name}.`,
      `${t.full} said, "Ready, set, go!"`,
    ];
    if (isProud)
      return [
        `${h.name} could run very fast and was proud of it.`,
        `"Nobody can beat me," ${h.he} said.`,
        ...start,
        `${h.name} ran so fast that ${f.name} was soon far behind.`,
        `"I have a lot of time," thought ${h.name}, and lay down for a nap.`,
        `${f.name} was slow, but ${f.he} did not stop.`,
        `When ${h.name} woke up, ${f.name} was already there.`,
        `"You won!" said ${h.name}. "I should not have slept."`,
        `Since then, ${h.name} does not ${random.pick(['boast', 'laugh at others'])} any more.`,
      ];
    return [
      ...start,
      `They ran side by side, and nobody knew who would win.`,
      `Then ${f.name} fell over a root and hurt ${f.his} knee.`,
      `${h.name} could have won, but ${h.he} stopped and turned back.`,
      `"Are you hurt?" asked ${h.name}, and helped ${f.name} to stand up.`,
      `They walked to ${p.name} hand in hand.`,
      random.pick([`"You both won," said ${t.name}.`, `${t.name} gave both of them a medal.`]),
      `${f.name} smiled and said, "A good friend is better than a race."`,
    ];
  },
};

/** Plots of rain, gardens, birthdays and races. */
export const dayPlots: readonly Plot[] = [rain, seed, care, birthday, race];
