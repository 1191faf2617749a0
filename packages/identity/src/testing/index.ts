export { makeServerCertificate } from './server-certificate.js';
