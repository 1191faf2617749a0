import { describeEngine } from '@butterfly/engine/testing';
import { EchoEngine } from './testing/api.js';

describeEngine('the echo', () => ({ engine: new EchoEngine(), work: () => undefined }));
