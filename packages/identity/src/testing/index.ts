export { makeMembers } from './members.js';
export { makeServerCertificate } from './server-certificate.js';
