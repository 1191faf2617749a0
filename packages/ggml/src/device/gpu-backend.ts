import { Backend } from './backend.js';

/** A GPU, with memory of its own or a part of the host's. A fault of its driver ends the process. */
export class GpuBackend extends Backend {}
