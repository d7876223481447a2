-- SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
-- Each request is an alert of its own, as the monitor sends them.
local thread = 0
function setup(each) each:set("number", thread); thread = thread + 1 end
local sent = 0
function request()
  sent = sent + 1
  return wrk.format("GET", string.format(
    "/alert?timestamp=%d.%06d&event=exceeded&protocol=tcp&local_ip=10.0.%d.%d&local_port=%d&remote_ip=192.0.2.%d" ..
    "&remote_port=%d&type=RECV&size=%d&threshold=1048576&peak=1200000&duration=0&id=%04x%08x&seq=%d&host=bench%d" ..
    "&netns=4026531833&mode=ebpf&pid=4711&comm=nginx",
    os.time(), sent % 1000000, sent % 250, sent % 251, 1024 + sent % 5000, sent % 253, 1024 + sent % 60000,
    1048577 + sent % 100000, number, sent, sent, number))
end
