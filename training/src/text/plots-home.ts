import type { Plot } from './scene.js';

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

/** Plots of nights, kitchens, ways home and winters. */
export const homePlots: readonly Plot[] = [night, baking, lunch, astray, snow];
