# Sends the upload with Ruby's Net::HTTP. See run.go.
require 'net/http'

def say(key, value)
  puts "#{key}: #{value.to_s.gsub(/\s+/, ' ')}"
end

begin
  uri = URI(ENV.fetch('URL'))
  request = Net::HTTP::Post.new(uri)
  request['Auth-Token'] = ENV['TOKEN'] unless ENV['TOKEN'].empty?
  request.set_form([['symbols.zip', File.open(ENV.fetch('ARCHIVE'))]], 'multipart/form-data')
  response = Net::HTTP.start(uri.host, uri.port, use_ssl: uri.scheme == 'https', read_timeout: 300, write_timeout: 300) do |http|
    http.request(request)
  end
  say('status', response.code)
  say('body', response.body)
  begin
    response.value
  rescue StandardError => e
    say('shown', e.message)
  end
rescue StandardError => e
  say('failed', "#{e.class}: #{e.message}")
end
