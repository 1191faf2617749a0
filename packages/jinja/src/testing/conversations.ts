const tools = [
  {
    type: 'function',
    function: {
      name: 'get_weather',
      description: 'Weather of a "place"',
      parameters: {
        type: 'object',
        properties: {
          place: { type: 'string', description: 'Città, 都市' },
          unit: { type: 'string', enum: ['°C', '°F'] },
          days: { type: 'array', items: { type: 'integer' } },
        },
        required: ['place'],
      },
    },
  },
];
const call = {
  role: 'assistant',
  content: '',
  tool_calls: [
    {
      id: 'call00001',
      type: 'function',
      function: { name: 'get_weather', arguments: { place: 'Aarhus', days: [1, 2] } },
    },
  ],
};
const user = { role: 'user', content: ' What is new?\n' };

/** What templates are given, one for each shape of a conversation. */
export const conversations: Readonly<Record<string, Readonly<Record<string, unknown>>>> = {
  user: { messages: [user] },
  'system and user': { messages: [{ role: 'system', content: 'Be kind.' }, user] },
  'three turns': {
    messages: [user, { role: 'assistant', content: 'Yo\n' }, { role: 'user', content: 'Bye 🦋\n' }],
  },
  thoughts: {
    messages: [
      user,
      { role: 'assistant', content: '<think>\nhm\n</think>\n\nYo' },
      { role: 'user', content: 'x' },
    ],
  },
  'empty words': {
    messages: [
      { role: 'system', content: '' },
      { role: 'user', content: '' },
      { role: 'assistant', content: '' },
      { role: 'user', content: 'x' },
    ],
  },
  'wrong order': { messages: [{ role: 'assistant', content: 'I begin' }, user] },
  tools: { messages: [user], tools },
  'a tool call': {
    messages: [
      { role: 'system', content: 'Be kind.' },
      user,
      call,
      { role: 'tool', content: '{"t": 3}' },
      user,
    ],
    tools,
  },
};
