import { it } from 'vitest';
import { Scheduler } from '/work/main/packages/orchestrator/src/engine/scheduler.js';
import { greedySampling } from '@butterfly/common';
for (const [n, runningMax, stages] of [[1000,256,1],[1000,256,8]] as const)
it(`perf ${n} ${runningMax} ${stages}`, () => {
  const s = new Scheduler({ contextTokensMax: 4096, arenaSlots: 4096*1024, stages, runningMax });
  let r=1; const rnd=(k:number)=>{r=(Math.imul(r,1103515245)+12345)>>>0;return (r>>>8)%k;};
  let id=0; let done=0; const total=10000;
  const submit=()=>{ try { s.submit({id:id++,promptTokens:Int32Array.from({length:50+rnd(400)},(_,i)=>i<rnd(100)?i:rnd(30000)),outputTokensMax:20+rnd(100),sampling:greedySampling,stopTokens:new Set(),priority:0,nowMs:id,deadlineMs:1e12}); return true;} catch { id--; return false;} };
  const q:any[]=[]; const times:number[]=[]; const comp:number[]=[];
  while(done<total){
    while(id<total && s.stats().waiting<1000 && submit());
    for(;;){const t0=performance.now(); const st=s.nextStep(id); times.push(performance.now()-t0); if(!st){times.pop();break;} q.push(st);}
    const st=q.shift(); if(!st) throw new Error('stuck');
    const outputs=st.sequences.filter((x:any)=>x.sampling).map((x:any)=>({sequenceId:x.sequenceId,tokens:Int32Array.of(rnd(30000))}));
    const t0=performance.now(); const ev=s.complete({stepId:st.stepId,outputs},id); comp.push(performance.now()-t0);
    done+=ev.filter(e=>e.kind==='end').length;
  }
  times.sort((a,b)=>a-b);comp.sort((a,b)=>a-b);
  const p=(a:number[],x:number)=>a[Math.floor(a.length*x)]!.toFixed(3);
  console.log(n,runningMax,stages,'steps',times.length,'next p50',p(times,.5),'p99',p(times,.99),'max',p(times,.9999),'complete p50',p(comp,.5),'p99',p(comp,.99), s.stats());
},60000);
