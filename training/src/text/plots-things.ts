import type { Plot, Scene } from './scene.js';
import type { Skill } from './world.js';

const has = ({ friend }: Scene, ...skills: readonly Skill[]): boolean =>
  skills.some((skill) => friend.skills.includes(skill));

/** Something gets lost, and somebody finds it where it lies. */
const lost: Plot = {
  name: 'lost',
  suits: () => true,
  tell({ hero: h, friend: f, place: p, item: o, random }) {
    const [spot = '', wrong = ''] = random.shuffle(p.spots);
    const isFoundByFriend = random.chance(0.6);
    const finder = isFoundByFriend ? f : h;
    return [
      random.pick([
        `One day, ${h.he} took ${h.his} ${o.words} to ${p.name}.`,
        `One morning, ${h.name} went to ${p.name} with ${h.his} ${o.words}.`,
      ]),
      random.pick([`${h.He} played there for a long time.`, `${h.He} ran and jumped and had a lot of fun.`]),
      random.pick([
        `When it was time to go home, the ${o.words} ${o.was} gone.`,
        `But then ${h.he} could not find the ${o.words}.`,
      ]),
      `${h.name} looked ${wrong}, but the ${o.thing.noun} ${o.was} not there.`,
      random.pick([`${h.He} was very sad.`, `${h.He} began to cry.`, `${h.He} sat down and felt sad.`]),
      `${f.full} came by.`,
      random.pick([`"Why are you sad?" asked ${f.name}.`, `"What is wrong?" asked ${f.name}.`]),
      `"I lost my ${o.words}," said ${h.name}.`,
      random.pick([`"I will help you," said ${f.name}.`, `"Let us look together," said ${f.name}.`]),
      `They looked everywhere, and then ${finder.name} looked ${spot}.`,
      random.pick([
        `There ${o.was} the ${o.words}!`,
        `"Here ${o.subject === 'it' ? 'it is' : 'they are'}!" called ${finder.name}.`,
      ]),
      isFoundByFriend
        ? `${h.name} hugged ${f.name} and said, "Thank you for finding my ${o.thing.noun}!"`
        : `${h.name} was happy and thanked ${f.name} for the help.`,
      random.pick([
        `From that day on, ${h.name} took good care of the ${o.words}.`,
        `Then they played together until the sun went down.`,
      ]),
    ];
  },
};

/** The wind takes something into a tree; who can climb, fly or reach gets it down. */
const tree: Plot = {
  name: 'tree',
  weather: 'windy',
  suits: (scene) =>
    scene.item.thing.isLight &&
    has(scene, 'climb', 'fly', 'reach') &&
    !scene.hero.skills.some((s) => s === 'climb' || s === 'fly'),
  tell({ hero: h, friend: f, place: p, item: o, random }) {
    const rescue = f.skills.includes('fly')
      ? [
          `"I can fly," said ${f.name}.`,
          `${f.He} flew up to the branch and brought the ${o.thing.noun} down.`,
        ]
      : f.skills.includes('climb')
        ? [
            `"I can climb," said ${f.name}.`,
            `${f.He} climbed up the tree and brought the ${o.thing.noun} down.`,
          ]
        : [
            `"I am tall," said ${f.name}.`,
            `${f.He} reached up with ${f.his} long arms and took the ${o.thing.noun} down.`,
          ];
    return [
      `${h.name} was ${p.at} with ${o.a}.`,
      random.pick([
        `Suddenly, the wind took the ${o.words} and carried ${o.it} up into a tree.`,
        `A strong wind came and blew the ${o.words} into a tall tree.`,
      ]),
      random.pick([
        `${h.name} jumped and jumped, but the branch was too high.`,
        `${h.He} could not reach ${o.it}, because the tree was too tall.`,
      ]),
      random.pick([`"Help!" called ${h.name}.`, `"Oh no, my ${o.thing.noun}!" cried ${h.name}.`]),
      `${f.full} heard ${h.him} and came.`,
      ...rescue,
      random.pick([
        `"Thank you, ${f.name}!" said ${h.name}.`,
        `${h.name} was so happy that ${h.he} danced around the tree.`,
      ]),
      random.pick([
        `Now ${h.he} holds the ${o.words} tight when the wind blows.`,
        `After that, ${h.name} and ${f.name} shared the ${o.words} all day.`,
      ]),
    ];
  },
};

/** Something falls into the water; who can swim brings it back, and gets wet. */
const water: Plot = {
  name: 'water',
  suits: (scene) =>
    has(scene, 'swim') && !scene.hero.skills.includes('swim') && !scene.hero.skills.includes('fly'),
  tell({ hero: h, friend: f, item: o, random }) {
    const where = random.pick(['pond', 'lake', 'river']);
    return [
      `One day, ${h.name} sat by the ${where} with ${h.his} ${o.words}.`,
      random.pick([
        `${h.He} leaned over to look at a fish, and the ${o.thing.noun} fell into the water.`,
        `${h.He} slipped on the wet grass, and the ${o.words} fell into the ${where}.`,
      ]),
      `${h.name} could not swim, so ${h.he} could only watch.`,
      random.pick([
        `The ${o.thing.noun} ${o.was} far away from the shore, and ${h.he} began to cry.`,
        `"My ${o.words}!" ${h.he} cried.`,
      ]),
      `${f.full} was a good swimmer.`,
      random.pick([
        `${f.He} jumped into the water and swam to the ${o.words}.`,
        `${f.He} swam out into the ${where} and got the ${o.thing.noun}.`,
      ]),
      `Soon ${f.he} came back with the ${o.thing.noun}, but now ${f.he} was wet and cold.`,
      random.pick([
        `${h.name} gave ${f.him} a warm towel and a cup of hot tea.`,
        `${h.name} took ${f.him} home and made a fire so that ${f.he} could get dry.`,
      ]),
      random.pick([
        `"You are a true friend," said ${h.name}.`,
        `"Thank you for getting my ${o.words}," said ${h.name}.`,
      ]),
      `The next day, ${f.name} began to teach ${h.name} how to swim.`,
    ];
  },
};

/** Something breaks or tears; who has the right tool mends it. */
const broken: Plot = {
  name: 'broken',
  suits: (scene) => has(scene, 'mend'),
  tell({ hero: h, friend: f, place: p, item: o, random }) {
    const { harm, tool } = o.thing.mending;
    const condition = harm === 'broke' ? 'broken' : 'torn';
    return [
      random.pick([
        `${h.name} had ${o.a} and liked ${o.it} very much.`,
        `For ${h.his} birthday, ${h.name} got ${o.a}.`,
      ]),
      `One day, ${h.he} ran ${random.pick(['too fast', 'down the path'])} ${p.at} and fell over a stone.`,
      `The ${o.words} fell to the ground and ${harm}.`,
      random.pick([
        `${h.name} was not hurt, but ${h.he} was very sad.`,
        `"Now my ${o.thing.noun} ${o.thing.isPlural ? 'are' : 'is'} ${condition}," cried ${h.name}.`,
      ]),
      `${h.He} went to see ${f.full}, who was good at mending things.`,
      random.pick([
        `"Do not worry," said ${f.name}. "I have ${tool}."`,
        `${f.name} looked at the ${condition} ${o.thing.noun} and got ${tool}.`,
      ]),
      random.pick([
        `${f.He} worked until the evening, and ${h.name} helped ${f.him}.`,
        `They sat down at the table and worked together.`,
      ]),
      `At last, the ${o.words} ${o.was} as good as new.`,
      `${h.name} thanked ${f.name} and gave ${f.him} some ${f.food}.`,
      random.pick([
        `After that, ${h.he} always walked slowly.`,
        `${f.name} smiled, because ${f.he} liked to help.`,
      ]),
    ];
  },
};

/** Two want the same thing, and a quarrel spoils it. */
const quarrel: Plot = {
  name: 'quarrel',
  suits: () => true,
  tell({ hero: h, friend: f, place: p, item: o, random }) {
    const wasTorn = random.chance(0.5);
    return [
      `One day, ${h.name} and ${f.full} found ${o.a} ${p.at}.`,
      `Both wanted to ${o.thing.use} ${o.it} first.`,
      `"${o.thing.isPlural ? 'They are' : 'It is'} mine!" shouted ${h.name}.`,
      `"No, I saw ${o.it} first!" shouted ${f.name}.`,
      wasTorn
        ? `They pulled and pulled until the ${o.thing.noun} ${o.thing.mending.harm}.`
        : `They pulled and pulled until the ${o.thing.noun} fell into the mud.`,
      random.pick([`Then it was very quiet.`, `Both of them stopped and looked at the ${o.thing.noun}.`]),
      random.pick([`"I am sorry," said ${h.name}.`, `${h.name} felt bad. "I am sorry," ${h.he} said.`]),
      `"I am sorry too," said ${f.name}.`,
      wasTorn
        ? `They got ${o.thing.mending.tool} and mended the ${o.words} together.`
        : `They washed the ${o.words} together until ${o.subject} ${o.was} clean again.`,
      `Then ${random.pick([`${f.name} used ${o.it} first, and after that it was ${h.name}'s turn`, `they took turns, and nobody was angry any more`])}.`,
      random.pick([`They learned that sharing is better than fighting.`, `It was much more fun to share.`]),
    ];
  },
};

/** A box with something in it lies under the ground; who can dig gets it out. */
const treasure: Plot = {
  name: 'treasure',
  suits: (scene) => has(scene, 'dig'),
  tell({ hero: h, friend: f, third: t, place: p, item: o, random }) {
    const [spot = ''] = random.shuffle(p.spots);
    return [
      `One day, ${h.name} found an old map ${random.pick(['in a book', 'in the attic', 'in a bottle'])}.`,
      `The map showed ${p.name}, and there was a big cross ${spot}.`,
      `"A treasure!" said ${h.name}, and ran to ${f.full}.`,
      `"Can you help me? You are so good at digging."`,
      random.pick([`"Of course," said ${f.name}.`, `${f.name} was happy to come along.`]),
      `They went to ${p.name}, and ${f.name} dug a deep hole ${spot}.`,
      random.pick([`At first there was only sand and stones.`, `They dug and dug until they were tired.`]),
      `Then they saw a wooden box.`,
      `In the box ${o.was} ${o.a} and a letter.`,
      `"Whoever finds this should share it," said the letter.`,
      `So ${h.name} and ${f.name} shared the ${o.words} with ${t.name} and all their friends.`,
    ];
  },
};

export const thingPlots: readonly Plot[] = [lost, tree, water, broken, quarrel, treasure];
