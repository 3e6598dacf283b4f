using System;
using System.IO;
using System.IO.Compression;

/// <summary>.NET's System.IO.Compression, as Mono has it.</summary>
static class IoCompression
{
    static void Main(string[] args)
    {
        string mode = args[0];
        bool pipe = mode.EndsWith("pipe");
        using (Stream file = pipe ? Console.OpenStandardOutput() : new FileStream(args[1], FileMode.OpenOrCreate))
        using (var zip = new ZipArchive(file, mode == "update" ? ZipArchiveMode.Update : ZipArchiveMode.Create))
        {
            for (int i = 2; i < args.Length; i++)
            {
                if (mode == "update" && zip.GetEntry(args[i]) != null) zip.GetEntry(args[i]).Delete();
                var entry = zip.CreateEntry(args[i]);
                if (args[i].EndsWith("/")) continue;
                using (var body = entry.Open())
                {
                    byte[] data = File.ReadAllBytes(args[i]);
                    body.Write(data, 0, data.Length);
                }
            }
            if (mode == "update") zip.GetEntry(Environment.GetEnvironmentVariable("DELETE")).Delete();
        }
    }
}
