import { formatBytes, printableLine } from '@butterfly/common';
import type { Offer } from 'butterfly/command';
import { formatTable } from '../table.js';
import { describeMachine, type Surroundings } from './look-around.js';

/** What can be run here, numbered, and what cannot, in words and a table for a terminal. */
export function formatOffers({ facts, fitting, misfits, refused, updated }: Surroundings): string {
  const rows = fitting.map((offer, index) => [
    String(index + 1),
    offer.name,
    offer.title,
    originOf(offer),
    formatBytes(offer.needBytes),
    runsOn(offer),
    offer.goodFor,
    offer.licence ?? '',
  ]);
  const heads = ['', 'model', '', 'from', 'memory', 'runs on', 'good for', 'licence'];
  const large = misfits.map(
    ({ name, lacks, needBytes }) =>
      `${name} (${formatBytes(needBytes)} of ${lacks === 'disk' ? 'disk' : 'memory'})`,
  );
  const lines = [
    ...(large.length === 0 ? [] : [`Too large for this machine by itself: ${large.join(', ')}.`]),
    ...refused.map((each) => `Cannot be used: ${each}`),
    `Sizes of what may be fetched are of ${updated}.`,
  ];
  return `${describeMachine(facts)}\n\n${formatTable([heads, ...rows])}\n${lines.map(printableLine).join('\n')}\n`;
}

function originOf({ kind, bytes }: Offer): string {
  switch (kind) {
    case 'pulled':
      return 'here already';
    case 'shipped':
      return 'came with Butterfly';
    case 'download':
      return `${formatBytes(bytes)} to fetch`;
  }
  return kind satisfies never;
}

function runsOn({ fit, isSlow }: Offer): string {
  return `${fit.place === 'cards' ? 'graphics' : 'CPU'}${isSlow ? ', slowly' : ''}`;
}
