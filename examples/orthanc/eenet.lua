-- A study that has come to rest in this Orthanc is segmented by `eenet-run infer dicom`, and the results come back into it.
-- No gateway is needed. Name this file under "LuaScripts" in Orthanc's configuration, and set these in its environment:
--   EENET_SPOOL    a folder for studies and results, writable by Orthanc alone
--   EENET_SCRIPT   eenet-study.sh, which lies beside this file
-- Orthanc tries nothing again by itself: what was missed while it was down is segmented when the study comes once more.

local spool = os.getenv("EENET_SPOOL")
local script = os.getenv("EENET_SCRIPT")

local function read(path)
  local file = io.open(path, "rb")
  if not file then return nil end
  local content = file:read("*a")
  file:close()
  return content
end

local function write(path, content)
  local file = assert(io.open(path .. ".part", "wb"))
  file:write(content)
  file:close()
  assert(os.rename(path .. ".part", path))
end

-- Every MR image of the study, in one text that changes when an image comes. Results are no MR: they change nothing,
-- although Orthanc calls the study stable again after each of them.
local function images(id)
  local found = {}
  for _, series in ipairs(ParseJson(RestApiGet("/studies/" .. id .. "/series"))) do
    if series["MainDicomTags"]["Modality"] == "MR" then
      for _, instance in ipairs(series["Instances"]) do found[#found + 1] = instance end
    end
  end
  table.sort(found)
  return table.concat(found, "\n")
end

function OnStableStudy(id, tags, metadata)
  -- Orthanc's own identifiers are hashes, of hexadecimal digits and hyphens: safe as the name of a file.
  if not spool or not script or not string.match(id, "^[0-9a-f-]+$") then return end
  local now = images(id)
  if now == "" or now == read(spool .. "/" .. id .. ".images") then return end
  write(spool .. "/" .. id .. ".zip", RestApiGet("/studies/" .. id .. "/archive"))
  write(spool .. "/" .. id .. ".images", now)
  -- In the background: Orthanc takes no image while a Lua function runs.
  os.execute("'" .. script .. "' '" .. id .. "' </dev/null >>'" .. spool .. "/log.txt' 2>&1 &")
end
