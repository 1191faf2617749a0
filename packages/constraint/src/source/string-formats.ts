/** Formats of strings that answers are held to, each as a pattern whose texts are all of the format. */
const year = '[0-9]{4}';
/** Days that every month has, and further ones where it has them; the 29th of February is left out. */
const monthDay =
  '(?:(?:0[1-9]|1[0-2])-(?:0[1-9]|1[0-9]|2[0-8])|(?:0[13-9]|1[0-2])-(?:29|30)|(?:0[13578]|1[02])-31)';
const date = `${year}-${monthDay}`;
const clock = '(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\\.[0-9]{1,9})?';
const zone = '(?:Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])';
const label = '[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,20}[a-zA-Z0-9])?';
const octet = '(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])';
const hextet = '[0-9a-fA-F]{1,4}';
const path = "(?:/[a-zA-Z0-9._~!$&'()*+,;=:@-]{0,64}){0,16}";

export const stringFormats: ReadonlyMap<string, string> = new Map([
  ['date', date],
  ['time', `${clock}${zone}`],
  ['date-time', `${date}T${clock}${zone}`],
  [
    'duration',
    'P(?:[0-9]{1,4}W|(?:[0-9]{1,4}Y(?:[0-9]{1,4}M(?:[0-9]{1,4}D)?)?|[0-9]{1,4}M(?:[0-9]{1,4}D)?|[0-9]{1,4}D)' +
      '(?:T[0-9]{1,4}(?:H(?:[0-9]{1,4}M(?:[0-9]{1,4}S)?)?|M(?:[0-9]{1,4}S)?|S))?' +
      '|T[0-9]{1,4}(?:H(?:[0-9]{1,4}M(?:[0-9]{1,4}S)?)?|M(?:[0-9]{1,4}S)?|S))',
  ],
  ['uuid', '[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}'],
  ['email', `[a-zA-Z0-9_+-]{1,32}(?:\\.[a-zA-Z0-9_+-]{1,32}){0,3}@${label}(?:\\.${label}){1,4}`],
  ['hostname', `${label}(?:\\.${label}){0,5}`],
  ['ipv4', `${octet}(?:\\.${octet}){3}`],
  ['ipv6', `(?:${hextet}:){7}${hextet}`],
  ['uri', `https?://${label}(?:\\.${label}){0,5}(?::[1-9][0-9]{0,3})?${path}`],
]);
