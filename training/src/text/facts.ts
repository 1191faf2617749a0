/** Questions about causes and consequences, as the stories show them; several ways to ask, and one answer each. */
export const commonSense: readonly (readonly [questions: readonly string[], answer: string])[] = [
  [
    ['What do you do when it rains?', 'What can I do in the rain?', 'It is raining. What should I do?'],
    'When it rains, you can take an umbrella or run home, and then wait for the rainbow.',
  ],
  [
    [
      'My kite is in a tree. What should I do?',
      'How do I get a kite out of a tree?',
      'What do you do when the wind blows a kite into a tree?',
    ],
    'Ask somebody who can climb or fly to bring it down.',
  ],
  [
    [
      'My toy is broken. What should I do?',
      'What do you do with a broken toy?',
      'How can I mend a broken toy?',
    ],
    'Go to a friend who is good at mending things. With the right tool, it will be as good as new.',
  ],
  [
    [
      'I lost my ball. What should I do?',
      'What do you do when you lose something?',
      'How do I find a thing that I lost?',
    ],
    'Ask a friend to help, and look everywhere. Two find more than one.',
  ],
  [
    ['How does a seed grow?', 'What does a seed need?', 'How do I grow a sunflower?'],
    'Put the seed into the ground, give it water and sun, and be patient.',
  ],
  [
    [
      'I am afraid of the dark. What should I do?',
      'What do you do when you hear a noise at night?',
      'I heard a noise at night. What was it?',
    ],
    'Take a lamp and look. Most noises are only the wind.',
  ],
  [
    [
      'What do you do when two friends want the same toy?',
      'My friend and I want the same toy. What should we do?',
      'How do you end a quarrel?',
    ],
    'Say sorry and take turns. Sharing is better than fighting.',
  ],
  [
    [
      'What should I do when I am lost in the woods?',
      'I am lost in the woods. What now?',
      'How do you find the way home?',
    ],
    'Call for help and wait for a friend who knows the way. Next time, stay on the path.',
  ],
  [
    ['What happens to a snowman in the sun?', 'Why does a snowman melt?', 'Where did the snowman go?'],
    'The sun makes it warm, and so the snowman melts. Next winter you can build another one.',
  ],
  [
    [
      'My friend is hungry. What should I do?',
      'What do you do when a friend has no lunch?',
      'Why should I share my lunch?',
    ],
    'Give half of your lunch to your friend. Another day, your friend will share with you.',
  ],
  [
    ['I found a hurt bird. What should I do?', 'How do you help a hurt bird?', 'What does a hurt bird need?'],
    'Carry it home in a soft cloth, give it seeds and water, and let it fly when it is well again.',
  ],
  [
    ['What makes a good friend?', 'What is a friend?', 'How can I be a good friend?'],
    'A good friend helps, shares and listens.',
  ],
  [
    [
      'What should I give my friend for a birthday?',
      'What is a good birthday gift?',
      'How do I make a birthday nice?',
    ],
    'Make something that your friend loves to eat, and bring everybody together.',
  ],
  [
    [
      'Why did the fast one lose the race?',
      'How can a slow runner win a race?',
      'Is it good to be proud before a race?',
    ],
    'Who sleeps on the way loses. Who does not stop can win, fast or slow.',
  ],
  [
    [
      'I fell into the water and I am cold. What should I do?',
      'What do you do when a friend is wet and cold?',
      'How do you get warm again?',
    ],
    'Take a warm towel, sit by the fire and drink hot tea.',
  ],
  [
    ['I feel sad today.', 'I am sad.', 'Can you cheer me up?'],
    'I am sorry that you are sad. Go and see a friend, or let me tell you a story.',
  ],
];

export const smallTalk: readonly (readonly [questions: readonly string[], answer: string])[] = [
  [
    ['Hello!', 'Hello', 'Hi!', 'Hi there!', 'Good morning!', 'Hey!'],
    'Hello! I am Butterfly, a very small model. Ask me about my friends, or let me tell you a story.',
  ],
  [
    ['Who are you?', 'What are you?', 'What is your name?', 'Tell me about yourself.'],
    'I am Butterfly, a very small language model. I know sixteen friends and many stories about them.',
  ],
  [
    ['What can you do?', 'What do you know?', 'Can you help me?', 'What can I ask you?'],
    'I can tell stories, and I can answer questions about the friends in them.',
  ],
  [
    ['Who are your friends?', 'Who lives in your world?', 'Which friends do you know?'],
    'I know Mia, Tom, Anna, Ben, Lily, Max, Finn, Rosa, Otto, Pip, Olive, Hugo, Dora, Felix, Bella and Rufus.',
  ],
  [
    ['Thank you!', 'Thanks!', 'Thank you, that was nice.', 'That was a nice story.'],
    'You are welcome! Do you want to hear another story?',
  ],
  [['Good night!', 'Bye!', 'Goodbye!', 'See you soon!'], 'Goodbye! Sleep well and come back soon.'],
  [
    ['What is a butterfly?', 'What do butterflies do?', 'Tell me about butterflies.'],
    'A butterfly is a small animal with four bright wings. It flies from flower to flower.',
  ],
  [
    ['How are you?', 'How are you today?', 'Are you well?'],
    'I am well, thank you! The sun is out in my world. How are you?',
  ],
];
