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

const noises = [
  { sound: 'a knock at the window', cause: 'a branch that moved in the wind' },
  { sound: 'a long howl', cause: 'the wind in the chimney' },
  { sound: 'a strange rustle', cause: 'a little bird that looked for a place to sleep' },
  { sound: 'a loud bang', cause: 'the door, which was not closed' },
] as const;

const night: Plot = {
  name: 'night',
  suits: () => true,
  tell({ hero: h, friend: f, random }) {
    const noise = random.pick(noises);
    const isAlone = random.chance(0.4);
    return [
      `One night, ${h.name} lay in bed and could not sleep.`,
      `Suddenly, ${h.he} heard ${noise.sound}.`,
      random.pick([
        `${h.He} was so afraid that ${h.he} hid under the blanket.`,
        `"Is it a monster?" ${h.he} thought.`,
      ]),
      ...(isAlone
        ? [
            `Then ${h.he} remembered what ${f.full} always said: "Look first, and then be afraid."`,
            `So ${h.name} took a lamp and looked.`,
          ]
        : [
            `${h.He} called ${h.his} friend ${f.full}, who came with a lamp.`,
            `"Let us look together," said ${f.name}.`,
          ]),
      `It was only ${noise.cause}!`,
      isAlone ? `${h.name} had to laugh.` : `${h.name} and ${f.name} had to laugh.`,
      random.pick([
        `"There is nothing to be afraid of," ${h.he} said.`,
        `"I was afraid of nothing," said ${h.name}.`,
      ]),
      `${h.He} went back to bed and slept until the morning.`,
    ];
  },
};

const cakes = [
  { cake: 'an apple cake', missing: 'apples' },
  { cake: 'a honey cake', missing: 'honey' },
  { cake: 'some cookies', missing: 'sugar' },
  { cake: 'a big bread', missing: 'flour' },
  { cake: 'some pancakes', missing: 'eggs' },
] as const;

const baking: Plot = {
  name: 'baking',
  suits: () => true,
  tell({ hero: h, friend: f, third: t, random }) {
    const { cake, missing } = random.pick(cakes);
    const noun = cake.split(' ').at(-1) ?? '';
    const it = noun.endsWith('s') ? 'them' : 'it';
    return [
      `One morning, ${h.name} wanted to bake ${cake}.`,
      `${h.He} looked into the kitchen, but there ${missing.endsWith('s') ? 'were' : 'was'} no ${missing}.`,
      `So ${h.he} went to ${f.full} and asked, "Do you have some ${missing}?"`,
      random.pick([
        `"Yes, take as much as you need," said ${f.name}.`,
        `"I do," said ${f.name}. "May I help you to bake?"`,
      ]),
      `They went into the kitchen and baked together.`,
      `Soon the whole house smelled sweet.`,
      `${t.full} smelled it too and knocked at the door.`,
      random.pick([`"I am so hungry," said ${t.name}.`, `"What smells so good?" asked ${t.name}.`]),
      `${h.name} cut the ${noun} into three parts, one for each of them.`,
      `They ate ${it} all up and were full and happy.`,
    ];
  },
};

const lunch: Plot = {
  name: 'lunch',
  suits: () => true,
  tell({ hero: h, friend: f, place: p, random }) {
    return [
      `One day, ${h.name} packed some ${h.food} and went to ${p.name}.`,
      `There ${h.he} met ${f.full}, who looked very sad.`,
      `"What is the matter?" asked ${h.name}.`,
      random.pick([
        `"I forgot my lunch, and I am hungry," said ${f.name}.`,
        `"I dropped my lunch into the mud," said ${f.name}.`,
      ]),
      `${h.name} had only a little food, but ${h.he} gave half of it to ${f.name}.`,
      random.pick([`They sat in the grass and ate.`, `They ate together and told stories.`]),
      `"The ${h.food} ${h.food.endsWith('s') ? 'are' : 'is'} very good," said ${f.name}. "Thank you!"`,
      `The next day, it was ${h.name} who had nothing to eat.`,
      `This time ${f.name} came with a big basket full of ${f.food}.`,
      `"Yesterday you shared with me, and today I share with you," said ${f.name}.`,
    ];
  },
};

const astray: Plot = {
  name: 'astray',
  suits: ({ friend }) => friend.skills.includes('lead'),
  tell({ hero: h, friend: f, random }) {
    const lure = random.pick([
      'a blue butterfly',
      'a white feather in the wind',
      'a small squirrel',
      'a trail of berries',
    ]);
    return [
      `One day, ${h.name} followed ${lure} deep into the woods.`,
      `${h.He} did not look at the path.`,
      `When ${h.he} stopped, all the trees looked the same, and ${h.he} was lost.`,
      random.pick([`It got dark, and ${h.he} was afraid.`, `${h.He} was tired and cold.`]),
      `"Hello! Is anybody there?" called ${h.name}.`,
      `${f.full} heard ${h.him}.`,
      `"Do not cry," said ${f.name}. "I know the way home."`,
      f.skills.includes('fly')
        ? `${f.He} flew ahead from tree to tree, and ${h.name} followed ${f.him}.`
        : `${f.He} took ${h.his} hand and went ahead, and ${h.name} followed ${f.him}.`,
      `Soon they saw a light, and ${h.name} was home again.`,
      `${h.He} gave ${f.name} some ${f.food} to say thank you.`,
      random.pick([
        `From then on, ${h.name} stayed on the path.`,
        `${h.He} never went into the woods alone again.`,
      ]),
    ];
  },
};

const snow: Plot = {
  name: 'snow',
  weather: 'cold',
  suits: () => true,
  tell({ hero: h, friend: f, third: t, place: p, item: o, random }) {
    const dressing = random.chance(0.5);
    return [
      `When ${h.he} woke up, everything was white, because it had snowed all night.`,
      `${h.name} ran outside and called ${f.full}.`,
      `They went to ${p.name} and built a big snowman.`,
      `"He needs a nose," said ${f.name}.`,
      `${t.full} came by and gave them ${random.pick(['a carrot', 'a long red pepper', 'a pointed stick'])} for the nose.`,
      dressing
        ? `${h.name} gave the snowman ${h.his} ${h.garment}, and ${f.name} gave him ${o.a}.`
        : `They took two black stones for the eyes and a branch for the mouth.`,
      `The snowman looked very fine.`,
      random.pick([
        `Then the sun came out, and day by day the snowman got smaller.`,
        `But after a week, it got warm, and the snowman melted.`,
      ]),
      `${h.name} was sad, but ${f.name} said, "Next winter we will build another one."`,
      `And so they did.`,
    ];
  },
};

export const dayPlots: readonly Plot[] = [
  rain,
  seed,
  care,
  birthday,
  race,
  night,
  baking,
  lunch,
  astray,
  snow,
];
