(async (server) => {
  // A call between two ends in this page, which may use nothing but relayed candidates of this RTCIceServer.
  const MESSAGES = 100;
  // Two of them do not fit into a packet.
  const MESSAGE = "x".repeat(800);
  const deadline = performance.now() + 15000;
  const errors = [];
  const until = async (what, ready) => {
    for (;;) {
      const value = await ready();
      if (value) return value;
      if (performance.now() > deadline) throw new Error(`${what}: not in time; ${errors}`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  };
  const start = performance.now();
  const ends = [0, 1].map(() => new RTCPeerConnection({ iceServers: [server], iceTransportPolicy: "relay" }));
  const received = [0, 0];
  const channels = ends.map((end, i) => {
    const channel = end.createDataChannel("messages", { negotiated: true, id: 1 });
    channel.onmessage = () => { received[i] += 1; };
    return channel;
  });
  for (const [end, other] of [ends, [...ends].reverse()]) {
    end.onicecandidate = (event) => other.addIceCandidate(event.candidate ?? undefined);
    // A 701 is told of a way that works, too: it seems for the family of which its name has no address.
    end.onicecandidateerror = (event) => errors.push(`${event.errorCode} ${event.errorText} ${event.url}`);
  }
  const [caller, callee] = ends;
  await caller.setLocalDescription();
  await callee.setRemoteDescription(caller.localDescription);
  await callee.setLocalDescription();
  await caller.setRemoteDescription(callee.localDescription);
  await until("data channels", () => channels.every((channel) => channel.readyState === "open"));
  const connectedMs = Math.round(performance.now() - start);
  for (let i = 0; i < MESSAGES; i++) {
    for (const channel of channels) channel.send(MESSAGE);
  }
  await until("messages", () => received.every((count) => count === MESSAGES));
  const sides = [];
  for (const end of ends) {
    const stats = [...(await end.getStats()).values()];
    const local = stats.find((stat) => stat.type === "local-candidate");
    sides.push([local.candidateType, local.relayProtocol, local.address]);
  }
  for (const end of ends) end.close();
  return { connectedMs, messages: received, sides };
})
